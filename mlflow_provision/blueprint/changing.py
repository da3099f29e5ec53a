"""What every request carries that changes a host."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.config import Deployment
from mlflow_provision.layout import Layout


def changing(deployment: Deployment, facts: dict[str, Any], what: str) -> dict[str, Any]:
    """One at a time (`lock`), and noted in the host's log (`audit`). `what` is told to whoever finds it locked, and
    stays in the log: the words of a command, without a secret."""
    layout = Layout(deployment, PurePosixPath(facts["root"]["path"]))
    return {"lock": str(layout.lock), **noted(deployment, facts, what)}


def noted(deployment: Deployment, facts: dict[str, Any], what: str) -> dict[str, Any]:
    """The same of a request that others need not wait for."""
    layout = Layout(deployment, PurePosixPath(facts["root"]["path"]))
    return {"what": what, "audit": {"path": str(layout.audit), "deployment": deployment.name}}
