"""A deployment whose database names places of an older server, and a page that gives artifacts as MLflow does."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from mlflow_provision.agent.moving import serve as move
from tests.agent.loopback import listening
from tests.agent.restoring import PASSWORD, Site

_MORE = """
ALTER TABLE experiments ADD COLUMN artifact_location TEXT;
ALTER TABLE runs ADD COLUMN experiment_id INTEGER;
ALTER TABLE runs ADD COLUMN artifact_uri TEXT;
CREATE TABLE logged_models (model_id TEXT PRIMARY KEY, experiment_id INTEGER, artifact_location TEXT);
CREATE TABLE model_versions (name TEXT, version INTEGER, run_id TEXT, source TEXT, storage_location TEXT);
CREATE TABLE trace_info (request_id TEXT PRIMARY KEY, experiment_id INTEGER);
CREATE TABLE trace_tags (key TEXT, value TEXT, request_id TEXT);
DELETE FROM experiments;
DELETE FROM runs;
"""


class MovingSite(Site):
    """`old` is a folder that an older server wrote to; the page serves what the database says."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.old = base.parent / "mlruns"
        self.artifacts_folder = base / "data" / "artifacts"
        self.url = ""
        self.lies: set[str] = set()  # paths whose bytes the page gets wrong

    def make(self) -> MovingSite:
        super().make()
        (self.base / "etc" / "server.env").write_text("A=b\n")
        with closing(sqlite3.connect(self.tracking)) as connection:
            connection.executescript(_MORE)
        return self

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.tracking)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def experiment(self, number: int, place: str) -> None:
        self.sql("INSERT INTO experiments VALUES (?, ?, 0, ?)", number, f"e{number}", place)

    def run_at(self, id: str, number: int, place: str) -> None:
        self.sql("INSERT INTO runs VALUES (?, 1, 2, ?, ?)", id, number, place)

    def written(self, path: str, content: str) -> Path:
        """A file of the older server."""
        file = self.old / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def place_of(self, run: str) -> str:
        return str(self.sql("SELECT artifact_uri FROM runs WHERE run_uuid = ?", run)[0][0])

    def local(self) -> None:
        """One experiment in the folder: two runs, a model of one of them, a trace, and a run that has no folder."""
        self.experiment(5, f"file://{self.old}/5")
        for run in ("r1", "r2", "r3"):
            self.run_at(run, 5, f"{self.old}/5/{run}/artifacts")
        self.sql("INSERT INTO logged_models VALUES ('m-1', 5, ?)", f"{self.old}/5/models/m-1/artifacts")
        source = f"{self.old}/5/r1/artifacts/model"
        self.sql("INSERT INTO model_versions VALUES ('mine', 1, 'r1', ?, 'models:/m-1')", source)
        self.sql("INSERT INTO trace_info VALUES ('tr-1', 5)")
        trace = f"{self.old}/5/traces/tr-1/artifacts"
        self.sql("INSERT INTO trace_tags VALUES ('mlflow.artifactLocation', ?, 'tr-1'), ('x', ?, 'tr-1')", trace, trace)
        self.written("5/r1/artifacts/model/MLmodel", "flavors")
        self.written("5/r1/artifacts/a.txt", "a")
        self.written("5/r2/artifacts/ü b.txt", "b" * 5000)
        self.written("5/models/m-1/artifacts/weights.bin", "w")
        self.written("5/traces/tr-1/artifacts/traces.json", "{}")

    def asking(self, action: str, **changed: Any) -> dict[str, Any]:
        request = self.request()
        access: dict[str, str] = {}
        return {
            "action": action,
            "deployment": "server",
            "base": str(self.base),
            "data": str(self.data),
            "moves": str(self.base / "moves"),
            "database": str(self.tracking),
            "owner": self.owner,
            "destination": str(self.artifacts_folder),
            "target": access,
            "source": access,
            "settings": request["settings"],
            "service": request["service"],
            "verify": {"url": self.url, "username": "admin", "password": PASSWORD},
            **changed,
        }

    def ask(self, action: str, **changed: Any) -> dict[str, Any]:
        return move(self.asking(action, **changed), "ada@laptop", self.events.append, lambda: False)

    def answer(self, target: str) -> tuple[int, bytes]:
        """As MLflow answers, with basic auth left out."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/api/2.0/mlflow/artifacts/list":
            place = self.place_of(query["run_id"])
            if not place.startswith("mlflow-artifacts:/"):
                return 500, b""
            return self._listing(place.removeprefix("mlflow-artifacts:/"), query.get("path", ""), True)
        if parts.path == "/api/2.0/mlflow-artifacts/artifacts":
            return self._listing(query["path"], "", False)
        relative = unquote(parts.path.removeprefix("/api/2.0/mlflow-artifacts/artifacts/"))
        path = self.artifacts_folder / relative
        if not path.is_file():
            return 404, b""
        return 200, path.read_bytes() + b"!" * (relative in self.lies)

    def _listing(self, top: str, below: str, whole: bool) -> tuple[int, bytes]:
        folder = self.artifacts_folder / top / below
        names = sorted(folder.iterdir()) if folder.is_dir() else []
        files = [
            {
                "path": f"{below}/{path.name}".lstrip("/") if whole else path.name,
                "is_dir": path.is_dir(),
                **({} if path.is_dir() else {"file_size": path.stat().st_size}),
            }
            for path in names
        ]
        return 200, json.dumps({"files": files}).encode()


@contextlib.contextmanager
def served(site: MovingSite) -> Iterator[MovingSite]:
    """The page of its server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = site.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with listening(Handler) as port:
        site.url = f"http://127.0.0.1:{port}"
        yield site
