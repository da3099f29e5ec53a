"""The verb `upgrade`: another MLflow takes the place of the one that runs, or that one stays; and going back later."""

from __future__ import annotations

import os
from typing import Any, Callable

from mlflow_provision.agent.names import UPGRADING
from mlflow_provision.agent.protocol import AgentError, Event


def serve(
    data: dict[str, Any], operator: str, emit: Callable[[Event], None], stopping: Callable[[], bool]
) -> dict[str, Any]:
    """`action`: "look" (what would happen), "rehearse" (on copies), "upgrade", "rollback", or "undo" (one that was
    interrupted). Runs as root, or as the person in user scope; but for "look" the caller holds the lock of the host."""
    # Imported late: the agent is compiled anew on every request.
    from mlflow_provision.agent.upgrade.wanted import wanted

    asked = wanted(data)
    action = data["action"]
    if action == "look":
        from mlflow_provision.agent.upgrade.look import look

        return look(asked)
    if action == "undo":
        from mlflow_provision.agent.upgrade.undo import undone

        return undone(asked.folder, emit)
    if action in ("rehearse", "upgrade", "rollback"):
        from mlflow_provision.agent.upgrade import prepare, transaction

        recover(asked.base, emit)
        act = {"rehearse": prepare.rehearse, "upgrade": transaction.upgrade, "rollback": transaction.roll_back}
        return act[action](asked, operator, emit, stopping)
    raise AgentError(f"this agent has no action {action!r} for upgrades")


def recover(base: str, emit: Callable[[Event], None]) -> None:
    """Whoever changes a deployment next goes back first from an upgrade that was cut off: its agent was killed, or the
    power went, and nobody was left to do it. The caller holds the lock of the host, so none is under way."""
    folder = os.path.join(base, "backup")
    if os.path.exists(os.path.join(folder, UPGRADING)):
        from mlflow_provision.agent.upgrade.undo import undone

        undone(folder, emit)
