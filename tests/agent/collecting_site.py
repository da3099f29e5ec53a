"""A host with a tracking database, artifacts and a release, as far as the collection of what was deleted looks at them.

The release has a stand-in for MLflow's code: it removes the same rows, asked in the same way.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_provision.agent import collection
from mlflow_provision.agent.protocol import Event, Output, Result

DAY = 86400
SCHEMA = """
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, artifact_location TEXT, lifecycle_stage TEXT,
    last_update_time INTEGER);
CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, name TEXT, artifact_uri TEXT, lifecycle_stage TEXT, deleted_time INTEGER,
    start_time INTEGER, end_time INTEGER, experiment_id INTEGER);
CREATE TABLE logged_models (model_id TEXT PRIMARY KEY, experiment_id INTEGER, name TEXT, artifact_location TEXT,
    lifecycle_stage TEXT, last_updated_timestamp_ms INTEGER);
CREATE TABLE trace_info (request_id TEXT PRIMARY KEY, experiment_id INTEGER);
CREATE TABLE trace_tags (request_id TEXT, key TEXT, value TEXT);
CREATE TABLE model_versions (name TEXT, version INTEGER, source TEXT, storage_location TEXT, current_stage TEXT);
"""
USERS = """
CREATE TABLE experiment_permissions (experiment_id TEXT, user_id INTEGER);
CREATE TABLE role_permissions (resource_type TEXT, resource_pattern TEXT);
"""
# It speaks the protocol of collection/rows.py. `trouble` may hold what to do instead: {id: "an error"}, or {"": "die"}.
STAND_IN = """
import json, os, sqlite3, sys
first = json.loads(sys.stdin.readline())
database = sqlite3.connect(first["tracking"], timeout=20, isolation_level=None)
trouble = json.load(open(sys.argv[1]))
if trouble.get("") == "die":
    sys.exit("Detected out-of-date database schema. Take a backup, then run 'mlflow db upgrade'")
print(json.dumps({"ready": True}), flush=True)
tables = {"run": ("runs", "run_uuid"), "model": ("logged_models", "model_id")}
tables["experiment"] = ("experiments", "experiment_id")
for line in sys.stdin:
    wish = json.loads(line)
    trouble = json.load(open(sys.argv[1]))
    table, key = tables[wish["kind"]]
    row = database.execute(f"SELECT lifecycle_stage FROM {table} WHERE {key} = ?", (wish["id"],)).fetchone()
    if wish["id"] in trouble:
        print(json.dumps({"error": trouble[wish["id"]]}), flush=True)
        continue
    if row is None or (row[0] != "deleted" and not wish["experiment"]):
        print(json.dumps({"said": "gone" if row is None else "restored"}), flush=True)
        continue
    if wish["kind"] == "experiment":
        database.execute("DELETE FROM trace_info WHERE experiment_id = ?", (wish["id"],))
    database.execute(f"DELETE FROM {table} WHERE {key} = ?", (wish["id"],))
    print(json.dumps({"said": "done"}), flush=True)
"""


@dataclass
class Site:
    """`root` is the folder of all deployments; artifacts are in a folder unless `place` says otherwise."""

    root: Path
    place: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda event: None
    stop: bool = False

    def __post_init__(self) -> None:
        for folder in (self.data, self.artifacts, self.base / "release" / "bin"):
            folder.mkdir(parents=True, exist_ok=True)
        for path, schema in ((self.tracking, SCHEMA), (self.users, USERS)):
            with closing(sqlite3.connect(path)) as database:
                database.executescript(schema)
        self.record("server", str(self.artifacts))
        program, python = self.base / "stand_in.py", self.base / "release" / "bin" / "python"
        program.write_text(STAND_IN)
        self.trouble()
        python.write_text(f"#!/bin/sh\nexec {sys.executable} {program} {self.base}/trouble.json\n")
        python.chmod(0o755)

    @property
    def base(self) -> Path:
        return self.root / "server"

    @property
    def data(self) -> Path:
        return self.base / "data"

    @property
    def artifacts(self) -> Path:
        return self.data / "artifacts"

    @property
    def tracking(self) -> Path:
        return self.data / "mlflow.db"

    @property
    def users(self) -> Path:
        return self.data / "basic_auth.db"

    def record(self, name: str, artifacts: str) -> None:
        """What a deployment on this host says of itself."""
        (self.root / name).mkdir(exist_ok=True)
        (self.root / name / "deployment.json").write_text(json.dumps({"artifacts": artifacts}))

    def trouble(self, **what: str) -> None:
        (self.base / "trouble.json").write_text(json.dumps({key.strip("_"): value for key, value in what.items()}))

    def sql(self, query: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.tracking, isolation_level=None)) as database:
            return database.execute(query, values).fetchall()

    def ids(self, table: str) -> list[Any]:
        return sorted(row[0] for row in self.sql(f"SELECT * FROM {table}"))

    def experiment(self, number: int, deleted_days: float | None = None, location: str = "") -> int:
        stage = "active" if deleted_days is None else "deleted"
        location = location or f"mlflow-artifacts:/{number}"
        row = (number, f"experiment {number}", location, stage, ago(deleted_days or 0))
        self.sql("INSERT INTO experiments VALUES (?, ?, ?, ?, ?)", *row)
        return number

    def run(
        self, digit: str, experiment: int = 1, deleted_days: float | None = None, files: int = 2, uri: str = ""
    ) -> str:
        id = digit * 32
        uri = uri or f"mlflow-artifacts:/{experiment}/{id}/artifacts"
        stage, since = ("active", None) if deleted_days is None else ("deleted", ago(deleted_days))
        row = (id, f"run {digit}", uri, stage, since, ago(90), ago(90), experiment)
        self.sql("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *row)
        self.write(f"{experiment}/{id}/artifacts", files)
        return id

    def model(self, digit: str, experiment: int = 1, deleted_days: float | None = None) -> str:
        id = "m-" + digit * 32
        stage = "active" if deleted_days is None else "deleted"
        uri = f"mlflow-artifacts:/{experiment}/models/{id}/artifacts"
        row = (id, experiment, f"model {digit}", uri, stage, ago(deleted_days or 0))
        self.sql("INSERT INTO logged_models VALUES (?, ?, ?, ?, ?, ?)", *row)
        self.write(f"{experiment}/models/{id}/artifacts")
        return id

    def trace(self, digit: str, experiment: int) -> str:
        id = "tr-" + digit * 32
        self.sql("INSERT INTO trace_info VALUES (?, ?)", id, experiment)
        self.write(f"{experiment}/traces/{id}/artifacts", 1)
        return id

    def registered(self, source: str, storage: str = "", stage: str = "None") -> None:
        self.sql("INSERT INTO model_versions VALUES ('churn', 3, ?, ?, ?)", source, storage, stage)

    def write(self, folder: str, files: int = 2, days: float = 2, size: int = 10) -> None:
        """Files of so many bytes, of so many days ago."""
        path = self.artifacts / folder / "some folder"
        path.mkdir(parents=True, exist_ok=True)
        for number in range(files):
            (path / f"ü & {number}").write_bytes(b"x" * size)
            os.utime(path / f"ü & {number}", (time.time() - days * DAY,) * 2)

    def there(self) -> list[str]:
        """The folders of runs, models and traces that have files, without their experiment."""
        files = [path.relative_to(self.artifacts).as_posix() for path in self.artifacts.rglob("*") if path.is_file()]
        return sorted({name.split("/artifacts/")[0] for name in files})

    def settings(self, days: float = 30) -> dict[str, Any]:
        return {
            "deployment": "server",
            "user": "",
            "state": str(self.base / "gc"),
            "root": str(self.root),
            "host_lock": str(self.root / ".lock"),
            "tracking": str(self.tracking),
            "users": str(self.users),
            "release": str(self.base / "release"),
            "place": self.place or {"destination": str(self.artifacts)},
            "seconds": days * DAY,
        }

    def ask(self, action: str, days: float = 30, **choices: Any) -> dict[str, Any]:
        def emit(event: Event) -> None:
            self.events.append(event)
            self.on_event(event)

        data = {"action": action, "settings": self.settings(days), **choices}
        return collection.serve(data, "ada@laptop", emit, lambda: self.stop)

    def look(self, days: float = 30, **choices: Any) -> dict[str, Any]:
        return self.ask("look", days, **choices)

    def collect(self, days: float = 30, **choices: Any) -> dict[str, Any]:
        return self.ask("collect", days, **choices)

    def told(self) -> list[Result]:
        return [event for event in self.events if isinstance(event, Result)]

    def lines(self) -> list[str]:
        return [event.line for event in self.events if isinstance(event, Output)]


def ago(days: float) -> int:
    """Milliseconds since 1970."""
    return int((time.time() - days * DAY) * 1000)
