"""A host that exists only as a list of events, for tests of what a person sees and what is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from mlflow_provision.agent.protocol import CHANGED, FAILED, OK, Done, Event, Output, Result, Start
from mlflow_provision.errors import ProvisionError
from mlflow_provision.host import Reply
from tests.unit import hosts

CHECKS = ("is healthy", "refuses a wrong password", "takes an artifact")


def facts(**changed: Any) -> dict[str, Any]:
    """What a fresh Debian host says of itself to Ana."""
    of_ana = {
        "user": "ana",
        "uid": 1000,
        "home": "/home/ana",
        "hostname": "box",
        "addresses": ["10.0.0.7"],
        "disk_free": 50 << 30,
        "time": time.time(),
        "root": {"path": "/home/ana/mlflow", "state": "absent"},
        "free_port": 5001,
        "index": {"error": "", "hint": "", "versions": ["3.17.2", "3.17.1"], "half_published": ["3.18.0"]},
    }
    return hosts.facts(**{**of_ana, **changed})


class FakeHost:
    """Answers every verb; `pending` ids of resources differ until they are applied."""

    label = "box"

    def __init__(self, pending: tuple[str, ...] = (), **changed_facts: Any) -> None:
        self.pending = set(pending)
        self.changed_facts = changed_facts
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.failing: dict[str, ProvisionError] = {}  # verb → how it ends
        self.failed_checks: tuple[str, ...] = ()
        self.status: dict[str, Any] = {
            "running": True,
            "healthy": True,
            "enabled": True,
            "pid": 4711,
            "seconds": 93784.0,
            "memory": 430_000_000,
            "restarts": 0,
            "problem": "",
        }
        self.health: dict[str, dict[str, Any]] = {}
        self.before_apply: Callable[[], None] = lambda: None
        self.interrupted = False
        self.closed = False

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.requests]

    def request(self, verb: str, data: dict[str, Any], reply: Reply | None = None) -> Iterator[Event]:
        self.requests.append((verb, data))
        yield from self._events(verb, data)

    def interrupt(self) -> None:
        self.interrupted = True

    def close(self) -> None:
        self.closed = True

    def _events(self, verb: str, data: dict[str, Any]) -> Iterator[Event]:
        if verb == "facts":
            yield Done(facts(**self.changed_facts))
        elif verb in ("plan", "apply"):
            looked = verb == "plan" and data.get("verify") and not self.pending
            yield from self._resources(
                verb, data["resources"], [asdict(check) for check in self._checks()] if looked else []
            )
        elif verb == "verify":
            yield from self._checks()
            yield Done({"failed": len(self.failed_checks)})
        elif verb == "health":
            self._end(verb)
            yield Done(self._health(data))
        else:
            self._end(verb)
            yield Done(self.status)

    def _health(self, data: dict[str, Any]) -> dict[str, Any]:
        """All deployments fare as `status` says; `health` has what is special about some of them."""
        known = facts(**self.changed_facts)
        kept = ("hostname", "addresses", "cpus", "memory", "home", "time")
        machine = {**{key: known[key] for key in kept}, "memory_free": known["memory"] // 2}
        nothing: dict[str, Any] = {"disks": [], "newest": "", "unfinished": [], "hashes": {}, "certificate": None}
        sizes = dict.fromkeys(("database_size", "runs", "runs_active", "runs_deleted", "experiments"))
        common = {**nothing, **sizes, "backup": None, "applied": known["applied"], "unknown": {}}
        told = {
            request["name"]: {**common, "root": request["root"], **self.status, **self.health.get(request["name"], {})}
            for request in data["deployments"]
        }
        return {"host": machine, "deployments": told}

    def _checks(self) -> Iterator[Result]:
        for check in CHECKS:
            yield Result(check, check, FAILED if check in self.failed_checks else OK, 0.1, "as measured")

    def _resources(self, verb: str, resources: list[dict[str, Any]], checks: list[dict[str, Any]]) -> Iterator[Event]:
        if verb == "apply":
            self.before_apply()
        for resource in resources:
            step = resource["id"]
            verdict = CHANGED if step in self.pending else OK
            diff = "--- /etc/x\n+++ /etc/x\n@@ -1 +1 @@\n-old\n+new\n" if verdict == CHANGED else ""
            if verb == "apply":
                yield Start(step, f"resource {step}")
                yield Output(step, "a line of [/red] progress")
                if verdict == CHANGED and verb in self.failing:
                    yield Result(step, f"resource {step}", FAILED, 0.2, self.failing[verb].message)
                    yield Done({}, {"message": "told by the exception", "hint": "", "kind": "failed"})
                    raise self.failing[verb]
            yield Result(step, f"resource {step}", verdict, 0.2, "update" if diff else "", diff)
        self._end(verb)
        yield Done({"changes": len(self.pending), **({"checks": checks} if checks else {})})
        if verb == "apply":
            self.pending = set()

    def _end(self, verb: str) -> None:
        if verb in self.failing:
            raise self.failing[verb]
