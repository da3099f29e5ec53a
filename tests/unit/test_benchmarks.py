"""The benchmarks' own arithmetic, and their clients."""

from __future__ import annotations

import gzip
import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmarks import bare_backup
from benchmarks.fill import fill
from benchmarks.load import Client, load
from benchmarks.peak import descendants
from benchmarks.report import Comparison, as_json, as_text
from benchmarks.writer import longest, write


@pytest.mark.parametrize(
    ("ours", "at_most", "passed"), [(20, True, True), (21, True, False), (20, False, True), (19, False, False)]
)
def test_a_target_is_a_limit_from_above_or_from_below(ours: float, at_most: bool, passed: bool) -> None:
    comparison = Comparison("part", "what", ours, 10, "s", target=2, at_most=at_most)
    assert comparison.passed is passed
    assert as_text(comparison).startswith("PASS" if passed else "MISS")
    (entry,) = json.loads(as_json([comparison]))
    assert entry["passed"] is passed
    assert entry["ratio"] == ours / 10


class Mlflow(BaseHTTPRequestHandler):
    """As much of MLflow's API as the clients use."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    logged: ClassVar[list[str]] = []
    connections: ClassVar[set[int]] = set()
    status = 200

    def do_GET(self) -> None:
        self._answer(200, "OK")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("log-metric"):
            self.logged.append(body["run_id"])
            self.connections.add(self.client_address[1])
            self._answer(self.status, {})
        elif self.path.endswith("runs/create"):
            self._answer(200, {"run": {"info": {"run_id": f"run-{self.client_address[1]}"}}})
        else:
            self._answer(200, {"experiment_id": "1"})

    def _answer(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Mlflow.logged.clear()
    Mlflow.connections.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Mlflow) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_every_client_keeps_one_connection_and_one_run(port: int) -> None:
    answer = load(port, "password", clients=3, seconds=0.2)
    assert answer["errors"] == []
    assert answer["requests"] == len(Mlflow.logged) > 3
    assert answer["rate"] == answer["requests"] / answer["seconds"]
    assert len(set(Mlflow.logged)) == len(Mlflow.connections) == 3


def test_an_error_is_told_and_not_counted(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mlflow, "status", 500)
    answer = load(port, "password", clients=2, seconds=0.2)
    assert answer["requests"] == 0
    assert len(answer["errors"]) == 2
    assert "500" in answer["errors"][0]


def test_a_writer_writes_until_it_is_told_that_it_is_enough(port: int) -> None:
    enough = threading.Event()
    threading.Timer(0.3, enough.set).start()
    requests = write(Client(port, "password"), "run", enough)
    assert len(requests) == len(Mlflow.logged) > 3
    assert all(began < ended <= following for (began, ended), (following, _) in pairwise(requests))


def test_the_longest_wait_is_that_of_a_request_under_way() -> None:
    requests = [(0.0, 9.0), (9.0, 10.5), (10.5, 10.75), (10.75, 13.0), (13.0, 17.0)]
    assert longest(requests, 10, 11) == 2.25
    assert longest(requests, 10, 10.6) == 1.5
    assert longest(requests, 13.5, 16) == 4
    with pytest.raises(ValueError, match="no request"):
        longest(requests, 20, 21)


def test_all_generations_of_processes_are_found() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1, 21: 20}
    assert descendants(parents, {10}) == {11, 12}
    assert descendants(parents, {12}) == set()


TABLES = """
CREATE TABLE runs (run_uuid PRIMARY KEY, name, status, lifecycle_stage, experiment_id, start_time, artifact_uri);
CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan, PRIMARY KEY (key, timestamp, step, run_uuid));
"""


def test_a_database_is_filled_to_its_size(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    sqlite3.connect(path).executescript(TABLES)
    assert 3_000_000 <= fill(path, 3_000_000) == path.stat().st_size < 6_000_000
    database = sqlite3.connect(path)
    (runs,), (values,) = (database.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("runs", "metrics"))
    assert values == runs * 20_000
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_bare_backup_uploads_a_copy_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded: dict[str, bytes] = {}

    class Store:
        def upload_file(self, path: str, bucket: str, key: str) -> None:
            uploaded[f"{bucket}/{key}"] = Path(path).read_bytes()

    monkeypatch.setattr(bare_backup, "_client", lambda order: Store())
    sqlite3.connect(tmp_path / "live.db").executescript(TABLES)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    order = {"database": str(tmp_path / "live.db"), "scratch": str(scratch), "level": 3, "bucket": "b"}
    bare_backup.back_up(order)
    ((name, content),) = uploaded.items()
    assert name.startswith("b/bare/") and list(scratch.iterdir()) == []
    (tmp_path / "copy.db").write_bytes(gzip.decompress(content))
    assert sqlite3.connect(tmp_path / "copy.db").execute("SELECT count(*) FROM metrics").fetchone() == (0,)
