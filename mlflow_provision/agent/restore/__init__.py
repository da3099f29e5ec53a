"""The verb `restore`: the databases of a backup take the place of those that are there, or those stay."""

from __future__ import annotations

from typing import Any, Callable

from mlflow_provision.agent.protocol import AgentError, Event


def serve(
    data: dict[str, Any], operator: str, emit: Callable[[Event], None], stopping: Callable[[], bool]
) -> dict[str, Any]:
    """`action`: "look" (what would be replaced), "restore", or "undo" (one that was interrupted). Runs as root, or as
    the person in user scope; the caller holds the lock of the host."""
    # Imported late: the agent is compiled anew on every request.
    from mlflow_provision.agent import backup
    from mlflow_provision.agent.restore.wanted import wanted

    asked = wanted(data)
    backup.load(asked.settings.place.destination)
    if data["action"] == "look":
        from mlflow_provision.agent.restore.look import look

        return look(asked, emit, stopping)
    if data["action"] == "restore":
        from mlflow_provision.agent.restore.transaction import restore

        return restore(asked, operator, emit, stopping)
    if data["action"] == "undo":
        from mlflow_provision.agent.restore.transaction import undo

        return undo(asked, operator, emit)
    raise AgentError(f"this agent cannot {data['action']!r} a restore")
