"""A host with backups that exists only as a list of events, for tests of what a person sees and what is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from mlflow_provision.agent.protocol import CHANGED, OK, Done, Event, Progress, Result, Start
from tests.unit.fake_host import FakeHost

NEWEST, OLDER = "20261121T153012Z-4f2a9c", "20261120T031500Z-00aa11"
SAFETY = "20261121T160000Z-5afe5a"
APPLIED = {"name": "server", "mlflow_version": "3.17.2"}


def backup(id: str = NEWEST, age: float = 7500.0, **changed: Any) -> dict[str, Any]:
    """One as the agent lists it."""
    return {
        "id": id,
        "sequence": 7,
        "deployment": "server",
        "host": "box",
        "reason": "by hand",
        "started": time.time() - age,
        "seconds": 12.0,
        "size": 260_000_000,
        "stored_size": 120_000_000,
        "mlflow_version": "3.17.2",
        "tool_version": "0.1.0",
        "schema": {"mlflow.db": "abc", "basic_auth.db": "def"},
        "rows": {"mlflow.db": {"experiments": 3, "runs": 120}, "basic_auth.db": {"users": 1}},
        "artifacts": {"files": 17, "bytes": 2_100_000_000},
        "encryption": {},
        "verified": {"at": time.time() - 3700, "level": "full"},
        "problem": "",
        **changed,
    }


class BackupHost(FakeHost):
    """Set up, with two backups."""

    def __init__(self) -> None:
        super().__init__(applied=APPLIED, root={"path": "/opt/mlflow", "state": "ours"}, admin_exists=True)
        self.backups = [backup(), backup(OLDER, 130_000, verified=None, reason="by schedule", artifacts=None)]
        self.level = "full"
        self.decisions = [
            {"id": NEWEST, "keep": True, "reasons": ["last 3", "daily 2026-11-21"]},
            {"id": OLDER, "keep": False, "reasons": ["no rule keeps it"]},
        ]
        self.seen: dict[str, Any] = {
            "backup": backup(),
            "now": {"rows": {"mlflow.db": {"runs": 155}}, "problems": {}, "mlflow_version": "3.17.2", "used": True},
            "newer": {"runs": 35, "experiments": 2, "users": 1, "since": time.time() - 7500},
            "replaces": ["/opt/mlflow/server/data/mlflow.db", "/opt/mlflow/server/data/basic_auth.db"],
            "keeps_users": False,
            "migrates": False,
            "unfinished": None,
        }
        self.replies: list[Callable[[str, dict[str, Any]], dict[str, Any]] | None] = []

    def asked(self, verb: str, action: str) -> list[dict[str, Any]]:
        """The requests of that kind."""
        return [data for name, data in self.requests if name == verb and data.get("action") == action]

    def request(
        self,
        verb: str,
        data: dict[str, Any],
        reply: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
    ) -> Iterator[Event]:
        self.requests.append((verb, data))
        self.replies.append(reply)
        if verb not in ("backup", "restore"):
            yield from self._events(verb, data)
            return
        action = data["action"]
        yield Start("tracking", "tracking database")
        yield Progress("tracking", 10, 20)
        if failure := self.failing.get(f"{verb} {action}"):
            yield Done({}, {"message": "told by the exception", "hint": "", "kind": "failed"})
            raise failure
        if action not in ("list", "look"):
            yield Result("tracking", "tracking database", CHANGED if action == "make" else OK, 1.5, "120 MB")
        yield Done(self._answer(action, data))

    def _answer(self, action: str, data: dict[str, Any]) -> dict[str, Any]:
        if action == "make":
            mark = {"at": time.time(), "level": self.level} if data["verify"] else None
            return {
                "backup": backup(verified=mark, artifacts=None if not data["artifacts"] else {"files": 1, "bytes": 5})
            }
        if action == "list":
            return {"backups": self.backups}
        if action == "verify":
            return {"id": data["id"], "level": self.level, "checks": []}
        if action == "prune":
            removed = [] if data["dry_run"] else [one["id"] for one in self.decisions if not one["keep"]]
            return {"decisions": self.decisions, "removed": removed, "freed": 120_000_000 if removed else 0}
        if action == "look":
            return self.seen
        if action == "download":
            return {"id": data["id"], "stored_size": 120_000_000, "place": data["to"]["destination"]}
        if action == "undo":
            return {"id": OLDER, "state": "the server runs with what it had"}
        return {
            "id": data["id"],
            "made": time.time() - 7500,
            "mlflow_version": "3.17.2",
            "rows": {},
            "migrated": False,
            "artifacts": {},
            "keeps_users": False,
            "safety": SAFETY if data["safety"] else "",
            "no_safety": "",
            "aside": f"/opt/mlflow/server/backup/before-{data['id']}",
            "was": "healthy",
            "seconds_down": 7.5,
            "checks": [],
        }
