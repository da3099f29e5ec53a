"""A host whose server can be upgraded, that exists only as a list of events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from mlflow_provision.agent.protocol import CHANGED, OK, Done, Event, Result, Start
from mlflow_provision.host import Reply
from tests.unit.fake_host import FakeHost

OLD, NEW = "3.10.1", "3.17.2"
BEFORE, AFTER = {"mlflow.db": "aaa", "basic_auth.db": "ccc"}, {"mlflow.db": "bbb", "basic_auth.db": "ccc"}
APPLIED = {"name": "server", "mlflow_version": OLD, "release": f"{OLD}-11111111"}
BACKUP = "20261121T160000Z-5afe5a"
KEPT = "/opt/mlflow/server/backup/upgrades/20261121T170000Z/databases"


def entry(id: str = "20261120T100000Z", version: str = OLD, **changed: Any) -> dict[str, Any]:
    """An upgrade of the history."""
    return {
        "id": id,
        "action": "upgrade",
        "at": time.time() - 2 * 86400,
        "from": {"version": version, "release": f"{version}-11111111", "schema": BEFORE},
        "to": {"version": NEW, "release": f"{NEW}-22222222", "schema": AFTER},
        "size": 12_000_000,
        "keeps_data": False,
        "lost": {"experiments": 2, "runs": 35, "users": 1},
        "installed": True,
        "target": True,
        **changed,
    }


class UpgradeHost(FakeHost):
    """Runs an older MLflow, without trouble."""

    def __init__(self, version: str = OLD) -> None:
        applied = {**APPLIED, "mlflow_version": version, "release": f"{version}-11111111"}
        super().__init__(applied=applied, root={"path": "/opt/mlflow", "state": "ours"}, admin_exists=True)
        self.look: dict[str, Any] = {
            "version": version,
            "release": f"{version}-11111111",
            "schema": BEFORE,
            "target": {"installed": False, "schema": {}},
            "size": 12_000_000,
            "disk_free": 40_000_000_000,
            "disk_needed": 1_200_000_000,
            "needs": {"copies": 24_000_000, "backup": 12_000_000, "release": 1_164_000_000},
            "rows": {"experiments": 3, "runs": 120, "users": 2},
            "rehearsed": None,
            "unfinished": None,
            "history": [entry()],
            "releases": [],
        }
        self.data = "old"

    def asked(self, action: str) -> list[dict[str, Any]]:
        """The requests of that kind."""
        return [data for name, data in self.requests if name == "upgrade" and data["action"] == action]

    def request(self, verb: str, data: dict[str, Any], reply: Reply | None = None) -> Iterator[Event]:
        if verb != "upgrade":
            yield from super().request(verb, data, reply)
            return
        self.requests.append((verb, data))
        action = data["action"]
        if action != "look":
            yield Start("uv", "resource uv")
            yield Result("uv", "resource uv", OK, 0.1, "as it should be")
            yield Start("migrate", "migration")
            yield Result("migrate", "migration", CHANGED, 1.5, "bbb")
        self._end(f"upgrade {action}")
        if action == "undo":
            self.changed_facts["upgrading"] = False
        yield Done(self._answer(data))

    def _answer(self, data: dict[str, Any]) -> dict[str, Any]:
        steps = {"mlflow.db": ["aaa", "bbb"], "basic_auth.db": ["ccc", "ccc"]}
        if data["action"] == "look":
            return self.look
        if data["action"] == "rehearse":
            seconds = {"install": 20.0, "copy": 0.5, "migrate": 4.0, "compare": 0.5}
            return {"schema": steps, "seconds": seconds, "bytes": 12_000_000, "release": f"{NEW}-22222222"}
        if data["action"] == "undo":
            return {"action": "upgrade", "from": OLD, "to": NEW, "state": f"it runs MLflow {OLD} again"}
        return {
            "from": data["from"],
            "to": {"version": data["to"]["version"], "release": data["to"]["release"].rpartition("/")[2]},
            "schema": steps,
            "seconds_down": 11.2,
            "checks": [],
            "backup": BACKUP,
            "backup_place": data["settings"]["place"]["destination"],
            "entry": "20261121T170000Z",
            "data": self.data,
            "lost": {"experiments": 2, "runs": 35, "users": 1} if self.data == "old" else {},
            "removed": ["3.9.0-00000000"],
            "kept_aside": KEPT,
        }
