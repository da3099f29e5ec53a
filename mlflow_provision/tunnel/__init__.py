"""OpenSSH port forwarding to a deployment: started, watched, mended, listed and stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_provision.tunnel.opening import Opened, opened
    from mlflow_provision.tunnel.registry import running, running_on
    from mlflow_provision.tunnel.route import direct_url, needs_tunnel
    from mlflow_provision.tunnel.states import State, Status

__all__ = ["Opened", "State", "Status", "direct_url", "needs_tunnel", "opened", "running", "running_on"]

# Imported when they are asked for: most commands only want to know which tunnels run, and need no supervisor for that.
_ELSEWHERE = {
    "Opened": "opening",
    "opened": "opening",
    "running": "registry",
    "running_on": "registry",
    "direct_url": "route",
    "needs_tunnel": "route",
    "State": "states",
    "Status": "states",
}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ELSEWHERE[name]}"), name)
