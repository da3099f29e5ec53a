"""The verb `users`: who may use the server, and for what."""

from __future__ import annotations

from typing import Any, Callable

from mlflow_provision.agent.protocol import AgentError, Event

_ACTIONS = {
    "list": "listing",
    "add": "accounts",
    "remove": "accounts",
    "admin": "accounts",
    "password": "passwords",
    "reset": "passwords",
    "permissions": "permissions",
    "grant": "permissions",
    "revoke": "permissions",
}


def serve(
    data: dict[str, Any], operator: str, emit: Callable[[Event], None], stopping: Callable[[], bool]
) -> dict[str, Any]:
    """`action` is one of `_ACTIONS`; `server` says which server, and with whose login: see `server`."""
    from importlib import import_module

    from mlflow_provision.agent.users.server import server

    if data["action"] not in _ACTIONS:
        raise AgentError(f"this agent cannot {data['action']!r} users")
    # Imported late: the agent is compiled anew on every request.
    module = import_module(f"{__name__}.{_ACTIONS[data['action']]}")
    action = getattr(module, f"run_{data['action']}")
    answer: dict[str, Any] = action(server(data["server"]), data, emit, stopping)
    return answer
