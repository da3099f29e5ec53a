"""Clients that log metrics as fast as the server lets them.

Standard library only: it is sent to the host and runs there. It talks to 127.0.0.1 and to nothing
else, for a limited time and a limited number of requests.
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
import threading
import time
from typing import Any

ADDRESS = "127.0.0.1"
MOST_REQUESTS_PER_CLIENT = 5000


class Client:
    """One connection that stays open, one run, one thread."""

    def __init__(self, port: int, password: str) -> None:
        self._connection = http.client.HTTPConnection(ADDRESS, port, timeout=60)
        token = base64.b64encode(f"admin:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        self.requests = 0
        self.error = ""

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._connection.request("POST", f"/api/2.0/mlflow/{path}", json.dumps(body), self._headers)
        response = self._connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {text[:200]!r}")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def log_metrics(self, run: str, start: threading.Barrier, seconds: float) -> None:
        start.wait()
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline and self.requests < MOST_REQUESTS_PER_CLIENT:
                now = int(time.time() * 1000)
                self.post(
                    "runs/log-metric",
                    {"run_id": run, "key": "loss", "value": 0.5, "timestamp": now, "step": self.requests},
                )
                self.requests += 1
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            self.error = f"{type(error).__name__}: {error}"


def wait_until_healthy(port: int, timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while True:
        connection = http.client.HTTPConnection(ADDRESS, port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
        finally:
            connection.close()
        time.sleep(0.2)


def load(port: int, password: str, clients: int, seconds: float) -> dict[str, Any]:
    """Requests per second of all clients together; each has its own run."""
    wait_until_healthy(port)
    first = Client(port, password)
    experiment = first.post("experiments/create", {"name": f"benchmark {time.time()}"})["experiment_id"]
    crowd = [Client(port, password) for _ in range(clients)]
    runs = [
        client.post("runs/create", {"experiment_id": experiment, "start_time": 0})["run"]["info"]["run_id"]
        for client in crowd
    ]
    start = threading.Barrier(clients + 1)
    threads = [
        threading.Thread(target=client.log_metrics, args=(run, start, seconds))
        for client, run in zip(crowd, runs)  # noqa: B905 - also runs on Python 3.9
    ]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.monotonic()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    requests = sum(client.requests for client in crowd)
    errors = [client.error for client in crowd if client.error]
    return {"requests": requests, "seconds": took, "rate": requests / took, "errors": errors}


if __name__ == "__main__":
    order = json.loads(sys.stdin.readline())
    print(json.dumps(load(order["port"], order["password"], order["clients"], order["seconds"])))
