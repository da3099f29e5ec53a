"""Backups of what cannot be made again. Everything here runs as the service user, whoever asked for it."""

from __future__ import annotations

from typing import Any, Callable

from mlflow_provision.agent.protocol import Event


def serve(
    data: dict[str, Any], operator: str, emit: Callable[[Event], None], stopping: Callable[[], bool]
) -> dict[str, Any]:
    """Do what `data["action"]` says: make, list, verify, prune or download. Raises AgentError."""
    from mlflow_provision.agent.as_user import as_user
    from mlflow_provision.agent.backup.settings import settings

    wanted = settings(data)
    load(wanted.place.destination, data.get("to", {}).get("destination", ""))
    from mlflow_provision.agent.backup.actions import act

    answer: dict[str, Any] = as_user(wanted.user, lambda: act(wanted, data, operator, emit, stopping), stopping)
    return answer


def load(*destinations: str) -> None:
    """Import all that work with these places needs, before the rights to read our program are given up.

    Where the system knows no files in memory it is a temporary file of root's, which the service user cannot read.
    """
    from mlflow_provision.agent.backup import actions  # noqa: F401 - and all that it imports

    for destination in filter(None, destinations):
        if destination.startswith("s3://"):
            from mlflow_provision.agent.backup.stores import s3  # noqa: F401
        elif destination.startswith("operator:"):
            from mlflow_provision.agent.backup.stores import operator  # noqa: F401
        else:
            from mlflow_provision.agent.backup.stores import folder  # noqa: F401
