"""The verb `rotate`: other secrets of the server's own, which never leave the host."""

from __future__ import annotations

from typing import Any, Callable

from mlflow_provision.agent.protocol import AgentError, Event


def serve(
    data: dict[str, Any], operator: str, emit: Callable[[Event], None], stopping: Callable[[], bool]
) -> dict[str, Any]:
    """`action` "secret": new ones in secrets.env, and what was locked with the old ones locked anew. Runs as root, or
    as the person in user scope; the caller holds the lock of the host."""
    if data["action"] != "secret":
        raise AgentError(f"this agent cannot rotate {data['action']!r}")
    # Imported late: the agent is compiled anew on every request.
    from mlflow_provision.agent.rotation.secret import rotate
    from mlflow_provision.agent.rotation.wanted import wanted

    return rotate(wanted(data), operator, emit, stopping)
