"""Start, stop, restart: what was there before, what came of it, and how long it took."""

from __future__ import annotations

import time
from typing import Any, Callable, Union

from mlflow_provision.agent import command
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from mlflow_provision.agent.resources.systemd_service import SystemdService

Service = Union[BackgroundProcess, SystemdService]
_BEFORE = ("running", "healthy", "pid", "seconds", "problem")


def carried_out(service: Service, verb: str, stopping: Callable[[], bool]) -> dict[str, Any]:
    """The status afterwards, with the status `before` in short, how many seconds it `took`, and whether a server that
    was to end had to be `killed`."""
    before = service.status()
    actions = {"start": service.start, "stop": service.stop, "restart": service.restart}
    started = time.monotonic()
    after = actions[verb](stopping)
    took = round(time.monotonic() - started, 2)
    killed = verb == "stop" and before["running"] and _killed(service, took)
    return {**after, "before": {key: before[key] for key in _BEFORE}, "took": took, "killed": killed}


def _killed(service: Service, took: float) -> bool:
    if isinstance(service, SystemdService):
        result = command.capture(["systemctl", "show", service.unit, "--property=Result", "--value"])
        return result.strip() == "timeout"
    from mlflow_provision.agent.process_group import STOP_SECONDS

    return took >= STOP_SECONDS
