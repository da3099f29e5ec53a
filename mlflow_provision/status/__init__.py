"""How deployments fare: every host is asked once for all of its servers, several hosts at the same time."""

from __future__ import annotations

from mlflow_provision.status.looking import Seen, Watch
from mlflow_provision.status.summary import summary

__all__ = ["Seen", "Watch", "summary"]
