"""Pure: what a host must look like for a deployment, as a list of resources, and what to ask its agent."""

from __future__ import annotations

from mlflow_provision.blueprint.backup import status_request
from mlflow_provision.blueprint.changing import changing
from mlflow_provision.blueprint.questions import facts_request, verify_request
from mlflow_provision.blueprint.removal import removal
from mlflow_provision.blueprint.resources import blueprint
from mlflow_provision.blueprint.service import service

__all__ = ["blueprint", "changing", "facts_request", "removal", "service", "status_request", "verify_request"]
