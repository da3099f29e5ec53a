"""Entry of the agent: requests in, events out, and the end when nobody listens any more. It is no daemon."""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import threading
import time
from typing import Any, Callable

from mlflow_provision.agent.names import UPGRADING
from mlflow_provision.agent.protocol import AgentError, Done, Event, encode, in_words, way_out

SILENCE = 60.0  # seconds; the operator's side sends a byte every ten

_stop = threading.Event()
_writing = threading.Lock()
_requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()


def main(request: dict[str, Any]) -> int:
    """Serve one request after the other, until one fails or nobody is there any more.

    stdin brings further requests, a line of JSON each, and stays open as long as somebody wants the answers: its end,
    or silence, asks us to stop.
    """
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: _stop.set())
    threading.Thread(target=_listen, daemon=True).start()
    wanted: dict[str, Any] | None = request
    while wanted is not None:
        if not _answered(wanted):
            return 1
        wanted = _requests.get()
    return 0


def _answered(request: dict[str, Any]) -> bool:
    started = time.monotonic()
    try:
        data = _serve(request["verb"], request.get("data", {}), request.get("operator", "somebody"))
        _emit(Done(data, None, time.monotonic() - started))
    except (AgentError, OSError) as error:  # a file we may not read: nothing that a traceback would tell better
        failed = error if isinstance(error, AgentError) else AgentError(in_words(error), way_out(error))
        failure = {"message": failed.message, "hint": failed.hint, "kind": failed.kind}
        _emit(Done({}, failure, time.monotonic() - started))
        return False
    return True


# Verbs that live in a module of their own, as `serve(data, operator, emit, stopping)`.
_MODULES = {
    "backup": "mlflow_provision.agent.backup",
    "restore": "mlflow_provision.agent.restore",
    "health": "mlflow_provision.agent.health",
    "logs": "mlflow_provision.agent.logs",
    "doctor": "mlflow_provision.agent.doctor",
    "users": "mlflow_provision.agent.users",
    "rotate": "mlflow_provision.agent.rotation",
    "upgrade": "mlflow_provision.agent.upgrade",
    "gc": "mlflow_provision.agent.collection",
    "move": "mlflow_provision.agent.moving",
    "audit": "mlflow_provision.agent.audit",
}


def _serve(verb: str, data: dict[str, Any], operator: str) -> dict[str, Any]:
    """The answer to a request. One that carries a "lock" has the host to itself meanwhile; one that carries "audit" is
    noted on the host."""
    # Each verb imports only what it needs: the program is compiled anew on every request.
    if "audit" not in data and "lock" not in data:
        return _answer(verb, data, operator, _emit)
    from contextlib import nullcontext

    from mlflow_provision.agent.audit import recorded
    from mlflow_provision.agent.lock import held

    os.umask(0o022)
    lock = data.get("lock")
    if verb in _SERVICE and not os.path.isdir(os.path.dirname(data["lock"])):
        return _answer(verb, data, operator, _emit)  # nothing is set up, and the service says so
    alone = held(lock, operator, data["what"]) if lock else nullcontext()
    with alone, recorded(data, operator, _emit) as emit:
        if lock and verb != "upgrade":
            _go_back_first(data, emit)
        return _answer(verb, data, operator, emit)


def _go_back_first(data: dict[str, Any], emit: Callable[[Event], None]) -> None:
    """An upgrade that was cut off is undone by whoever changes the deployment next."""
    audit = data.get("audit")
    base = os.path.join(os.path.dirname(audit["path"]), audit["deployment"]) if audit else ""
    if base and os.path.exists(os.path.join(base, "backup", UPGRADING)):
        from mlflow_provision.agent.upgrade import recover

        recover(base, emit)


_SERVICE = ("start", "stop", "restart", "status")


def _answer(verb: str, data: dict[str, Any], operator: str, emit: Callable[[Event], None]) -> dict[str, Any]:
    if verb == "facts":
        from mlflow_provision.agent.facts import facts

        return facts(data)
    if verb == "plan":
        from mlflow_provision.agent.apply import plan
        from mlflow_provision.agent.resources import from_json

        changes = plan([from_json(item) for item in data["resources"]], emit)
        if changes or not data.get("verify"):
            return {"changes": changes}
        # One request instead of two: most runs have nothing to change, and end with a look at the server.
        return {"changes": 0, **_verify(data["verify"], lambda event: None)}
    if verb == "apply":
        from mlflow_provision.agent.apply import apply
        from mlflow_provision.agent.resources import from_json

        return {"changes": apply([from_json(item) for item in data["resources"]], emit, _stop.is_set)}
    if verb == "verify":
        return _verify(data, emit)
    if verb in _MODULES:
        from importlib import import_module

        answer: dict[str, Any] = import_module(_MODULES[verb]).serve(data, operator, emit, _stop.is_set)
        return answer
    if verb == "old-server":
        from mlflow_provision.agent.adoption.details import details

        return details(data)
    if verb == "adopt":
        from mlflow_provision.agent.adoption.transaction import adopt

        return adopt(data, emit, _stop.is_set)
    if verb == "role":
        from mlflow_provision.agent.s3.requests import role

        return role(data)
    if verb == "store":
        from mlflow_provision.agent.s3.requests import store

        return store(data, emit)
    if verb in _SERVICE:
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
        return {**service.status(), **_backups(data)}
    from mlflow_provision.agent.control import carried_out

    return carried_out(service, verb, _stop.is_set)


def _backups(data: dict[str, Any]) -> dict[str, Any]:
    if not data.get("backup"):
        return {}
    from mlflow_provision.agent.backup.status import status

    return {"backup": status(**data["backup"])}


def _listen() -> None:
    """Until the end of stdin, or until the signs of life have stopped: a cut link tells nobody that it is cut."""
    from mlflow_provision.agent import operator_link

    rest = bytearray()
    try:
        while select.select([0], [], [], SILENCE)[0]:
            data = os.read(0, 1 << 20)
            if not data:
                break
            rest += data
            if b"\n" not in data:
                continue
            *lines, rest = rest.split(b"\n")
            for line in filter(None, lines):  # an empty one is a sign of life
                message = json.loads(line)
                (operator_link.arrived if "reply" in message else _requests.put)(message)
    finally:
        _stop.set()
        _requests.put(None)
        operator_link.arrived(None)


def _emit(event: Event) -> None:
    line = memoryview(encode(event).encode() + b"\n")
    try:
        with _writing:  # threads ask the operator's side too
            while line:  # what a signal interrupts was written in part, and sys.stdout would not mind
                line = line[os.write(1, line) :]
    except OSError:
        _stop.set()  # nobody listens any more: finish this step, then end
