"""The benchmarks' own arithmetic, and their clients."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from benchmarks.load import load
from benchmarks.report import Comparison, as_json, as_text


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
