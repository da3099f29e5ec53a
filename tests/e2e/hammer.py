"""Clients that log metrics through the real API without a pause, and remember what MLflow acknowledged, and when."""

from __future__ import annotations

import base64
import http.client
import json
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.waiting import until

CLIENTS = 3
KEY = "hammered"


@dataclass(frozen=True)
class Write:
    """A metric that MLflow has answered for; `at` is the time of the answer, in seconds since 1970."""

    run: str
    step: int
    at: float


class Hammer:
    """Hammers within its block. What is not acknowledged (a server that restarts) is tried again as another write."""

    def __init__(self, port: int, password: str) -> None:
        self._port = port
        token = base64.b64encode(f"admin:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._hammer, daemon=True) for _ in range(CLIENTS)]
        self.writes: list[Write] = []

    def __enter__(self) -> Hammer:
        self._experiment = self._once("experiments/create", {"name": f"hammer {time.time()}"})["experiment_id"]
        for thread in self._threads:
            thread.start()
        self.wait(3 * CLIENTS)
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(60)

    def wait(self, more: int) -> None:
        """Until so many more writes have been acknowledged."""
        wanted = len(self.writes) + more
        until(lambda: len(self.writes) >= wanted, lambda: f"{len(self.writes)} of {wanted} writes")

    def before(self, moment: float) -> set[tuple[str, int]]:
        """All writes acknowledged before a moment, as `stored` finds them."""
        return {(write.run, write.step) for write in self.writes if write.at < moment}

    def _hammer(self) -> None:
        run = self._once("runs/create", {"experiment_id": self._experiment, "start_time": 0})["run"]["info"]["run_id"]
        step = 0
        while not self._enough.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            with suppress(OSError, http.client.HTTPException):
                while not self._enough.is_set():
                    step += 1
                    metric = {"run_id": run, "key": KEY, "value": 1.0, "timestamp": step, "step": step}
                    self._post(connection, "runs/log-metric", metric)
                    self.writes.append(Write(run, step, time.time()))
            connection.close()

    def _once(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            return self._post(connection, path, body)
        finally:
            connection.close()

    def _post(self, connection: http.client.HTTPConnection, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection.request("POST", f"/api/2.0/mlflow/{path}", json.dumps(body), self._headers)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise http.client.HTTPException(f"{response.status} {text[:200]!r}")
        answer: dict[str, Any] = json.loads(text)
        return answer


def stored(database: Path) -> set[tuple[str, int]]:
    """The hammered writes in a copy of the tracking database. Raises sqlite3.DatabaseError for a broken copy."""
    connection = sqlite3.connect(database)
    try:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        return set(connection.execute("SELECT run_uuid, step FROM metrics WHERE key = ?", (KEY,)))
    finally:
        connection.close()
