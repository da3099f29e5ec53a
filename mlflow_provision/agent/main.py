"""Entry of the agent: one request in, events out, then the end. It is no daemon."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from typing import Any, Callable

from mlflow_provision.agent.protocol import AgentError, Done, Event, encode

SILENCE = 60.0  # seconds; the operator's side sends a byte every ten

_stop = threading.Event()


def main(request: dict[str, Any]) -> int:
    """Serve one request. stdin stays open as long as somebody wants the answer; its end or silence asks us to stop."""
    started = time.monotonic()
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: _stop.set())
    threading.Thread(target=_watch_stdin, daemon=True).start()
    try:
        data = _serve(request["verb"], request.get("data", {}), request.get("operator", "somebody"))
        _emit(Done(data, None, time.monotonic() - started))
        code = 0
    except AgentError as error:
        failure = {"message": error.message, "hint": error.hint, "kind": error.kind}
        _emit(Done({}, failure, time.monotonic() - started))
        code = 1
    sys.stdout.flush()
    return code


def _serve(verb: str, data: dict[str, Any], operator: str) -> dict[str, Any]:
    # Each verb imports only what it needs: the program is compiled anew on every request.
    if verb == "facts":
        from mlflow_provision.agent.facts import facts

        return facts(data)
    if verb == "plan":
        from mlflow_provision.agent.apply import plan
        from mlflow_provision.agent.resources import from_json

        changes = plan([from_json(item) for item in data["resources"]], _emit)
        if changes or not data.get("verify"):
            return {"changes": changes}
        # One request instead of two: most runs have nothing to change, and end with a look at the server.
        return {"changes": 0, **_verify(data["verify"], lambda event: None)}
    if verb == "apply":
        from mlflow_provision.agent.apply import apply
        from mlflow_provision.agent.lock import held
        from mlflow_provision.agent.resources import from_json

        os.umask(0o022)
        with held(data["lock"], operator, data["what"]):
            return {"changes": apply([from_json(item) for item in data["resources"]], _emit, _stop.is_set)}
    if verb == "verify":
        return _verify(data, _emit)
    if verb in ("start", "stop", "restart", "status"):
        return _control(verb, data)
    raise AgentError(f"this agent has no verb {verb!r}")


def _verify(data: dict[str, Any], emit: Callable[[Event], None]) -> dict[str, Any]:
    from mlflow_provision.agent.verify import verify

    return verify(data, emit, _stop.is_set)


def _control(verb: str, data: dict[str, Any]) -> dict[str, Any]:
    from mlflow_provision.agent.resources import from_json
    from mlflow_provision.agent.resources.background_process import BackgroundProcess
    from mlflow_provision.agent.resources.systemd_service import SystemdService

    service = from_json(data["service"])
    if not isinstance(service, (BackgroundProcess, SystemdService)):
        raise AgentError(f"{service.title} is not a service")
    if verb == "status":
        return service.status()
    actions: dict[str, Callable[[Callable[[], bool]], dict[str, Any]]] = {
        "start": service.start,
        "stop": service.stop,
        "restart": service.restart,
    }
    return actions[verb](_stop.is_set)


def _watch_stdin() -> None:
    """Until its end, or until the signs of life have stopped: a cut link tells nobody that it is cut."""
    try:
        while select.select([0], [], [], SILENCE)[0] and os.read(0, 4096):
            pass
    finally:
        _stop.set()


def _emit(event: Event) -> None:
    try:
        sys.stdout.write(encode(event) + "\n")
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        _stop.set()  # nobody listens any more: finish this step, then end
