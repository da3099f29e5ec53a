"""The verb `move`: artifacts that are elsewhere come under the proxy, or the whole store moves to another place."""

from __future__ import annotations

from typing import Any, Callable

from mlflow_provision.agent.protocol import AgentError, Event


def serve(
    data: dict[str, Any], operator: str, emit: Callable[[Event], None], stopping: Callable[[], bool]
) -> dict[str, Any]:
    """`action`: "look", "move", "look-store", "relocate", or "delete" (the originals). Runs as root, or as the person
    in user scope; places are read and written with the rights of the service user."""
    # Imported late: the agent is compiled anew on every request.
    from mlflow_provision.agent.moving.wanted import wanted
    from mlflow_provision.agent.steps import one_at_a_time

    asked, emit, action = wanted(data), one_at_a_time(emit), data["action"]
    if action == "delete":
        from mlflow_provision.agent.moving import records

        return records.delete(asked, emit, stopping)
    if action in ("look", "look-store"):
        from mlflow_provision.agent.moving import look

        return (look.look if action == "look" else look.look_at_store)(asked, emit, stopping)
    if action == "relocate":
        from mlflow_provision.agent.moving import relocation

        return relocation.relocate(asked, emit, stopping)
    if action == "move":
        from mlflow_provision.agent.moving import transaction

        return transaction.move(asked, operator, emit, stopping)
    raise AgentError(f"this agent cannot {action!r} artifacts")
