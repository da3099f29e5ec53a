"""How the servers of this host fare: all of them in one request, and nothing that is slow or broken hides the rest."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import Any, Callable

from mlflow_provision.agent import lock, sockets
from mlflow_provision.agent.health import certificate, counts, disks, files, growth, machine, newest, notes
from mlflow_provision.agent.home import expanded
from mlflow_provision.agent.protocol import AgentError, Event, in_words
from mlflow_provision.agent.resources import from_json
from mlflow_provision.agent.resources.record import load

Look = Callable[[], dict[str, Any]]


def serve(
    data: dict[str, Any], operator: str, emit: Callable[[Event], None], stopping: Callable[[], bool]
) -> dict[str, Any]:
    """The verb `health`: `{"host": …, "deployments": {name: …}}` for the requests in `data["deployments"]`, whose paths
    may begin with `~/`. It changes nothing but its own notes: free disk, hourly, and the newest MLflow, daily."""
    wanted = [expanded(request) for request in data["deployments"]]
    # First what runs as another user: a process must not be duplicated while it has threads at work.
    found = {request["name"]: _told(request) for request in wanted}
    versions = newest.Question([(request["index_url"], request["notes"]) for request in wanted])
    versions.ask()
    _at_once([_service_look(request, found[request["name"]]) for request in wanted])
    answers = versions.answers()
    for request in wanted:
        found[request["name"]]["newest"] = answers[request["notes"]]
    return {"host": machine.facts(), "deployments": found}


def _told(request: dict[str, Any]) -> dict[str, Any]:
    """All that is not the service itself. What cannot be learnt is named in `unknown`, with why."""
    told: dict[str, Any] = {"root": request["root"], "unknown": {}}
    looks: list[tuple[str, Look]] = [
        ("record", lambda: _record(request)),
        ("databases", lambda: counts.counted(request["user"], request["databases"])),
        ("backups", lambda: _backups(request)),
        ("disks", lambda: {"disks": _disks(request)}),
        ("certificate", lambda: {"certificate": certificate.served(request["names"])}),
    ]
    for what, look in looks:
        _learn(told, what, look)
    return told


def _learn(told: dict[str, Any], what: str, look: Look) -> None:
    try:
        told.update(look())
    except AgentError as error:
        told["unknown"][what] = error.message
    except OSError as error:
        told["unknown"][what] = in_words(error)
    except Exception as error:  # a mistake of ours in one corner must not take the screen away
        told["unknown"][what] = type(error).__name__


def _record(request: dict[str, Any]) -> dict[str, Any]:
    applied = load(request["record"])
    hashes = (applied or {}).get("hashes") or {}
    return {
        "applied": applied,
        "hashes": files.sums(path for path in hashes if isinstance(path, str)),
        "unfinished": [] if lock.is_held(request["lock"]) else _unfinished(request["guards"]),
    }


def _unfinished(guards: dict[str, str]) -> list[str]:
    return [what for what, guard in guards.items() if os.path.exists(guard)]


def _backups(request: dict[str, Any]) -> dict[str, Any]:
    if not request["backup"]:
        return {"backup": None}
    from mlflow_provision.agent.backup.status import status

    return {"backup": status(**request["backup"])}


def _disks(request: dict[str, Any]) -> list[dict[str, Any]]:
    found = disks.disks(request["folders"])
    now = time.time()
    samples = notes.samples(request["notes"], found, now)
    samples += growth.of_the_schedule(request["user"], request["backup"])
    return [{**disk, **growth.trend(samples, disk, now)} for disk in found]


def _service_look(request: dict[str, Any], told: dict[str, Any]) -> Callable[[], None]:
    def look() -> None:
        _learn(told, "service", lambda: dict(service(request["service"], told.get("applied") or {}).status()))

    return look


def service(wanted: dict[str, Any], applied: dict[str, Any]) -> Any:
    """The service as it was set up: a port that is in the deployment file only is nobody's yet."""
    found: Any = from_json(wanted)
    listen, port = applied.get("listen"), applied.get("port")
    if not (isinstance(listen, str) and isinstance(port, int)):
        return found
    name = sockets.reached_at(listen)
    return replace(found, url=f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}")


def _at_once(looks: list[Callable[[], None]]) -> None:
    """A server that hangs takes two seconds to say nothing; several of them take no longer."""
    threads = [threading.Thread(target=look, daemon=True) for look in looks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
