"""What a host must look like for a deployment that takes over an old server's data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.resources import Resource
from mlflow_provision.agent.resources.adopted_data import AdoptedData
from mlflow_provision.agent.resources.file import File
from mlflow_provision.blueprint.resources import blueprint, release_path
from mlflow_provision.blueprint.service import url
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.layout import Layout


def adopting(
    deployment: Deployment,
    secrets: Secrets,
    facts: dict[str, Any],
    operator: str,
    summary: str,
    old_password: str,
) -> list[Resource]:
    """The deployment's own resources, with the data of `facts["old_server"]` among them: after all that can be made
    while the old server runs, and before the unit, which may take the name of the old one."""
    plain = blueprint(deployment, secrets, facts, operator)
    position = next(number for number, resource in enumerate(plain) if resource.id == "unit")
    data = _data(Layout(deployment, PurePosixPath(facts["root"]["path"])), facts["old_server"], summary, old_password)
    return [*plain[:position], data, *map(_discreet, plain[position:])]


def _data(layout: Layout, old: dict[str, Any], summary: str, old_password: str) -> AdoptedData:
    return AdoptedData(
        id="adopted-data",
        old=old,
        summary=summary,
        base=str(layout.base),
        unit=layout.unit,
        unit_file=str(layout.unit_file),
        url=url(layout),
        owner=layout.user,
        release=str(release_path(layout)),
        config=str(layout.auth_config),
        secrets_env=str(layout.secrets_env),
        database=str(layout.database),
        auth_database=str(layout.auth_database),
        artifacts="" if "://" in layout.artifacts else layout.artifacts,
        record=str(layout.state),
        username=layout.deployment.auth.admin_username if old["auth"]["on"] else "",
        password=old_password,
    )


def _discreet(resource: Resource) -> Resource:
    """The old unit may hold secrets in lines of its own: a diff from it to ours shows none of them."""
    return replace(resource, secret_keys=("Environment",)) if isinstance(resource, File) else resource
