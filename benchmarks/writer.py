"""A client that logs metrics without a pause and notes how long each request took. Sent to the host; runs there."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from benchmarks.load import Client, wait_until_healthy

Request = tuple[float, float]  # when it began and ended, in seconds since 1970


def write(client: Client, run: str, enough: threading.Event) -> list[Request]:
    """Until `enough`; each request is one metric that MLflow has acknowledged."""
    requests: list[Request] = []
    while not enough.is_set():
        began = time.time()
        metric = {"run_id": run, "key": "loss", "value": 0.5, "timestamp": int(began * 1000), "step": len(requests)}
        client.post("runs/log-metric", metric)
        requests.append((began, time.time()))
    return requests


def longest(requests: list[Request], begin: float, end: float) -> float:
    """Seconds of the slowest request that was under way between `begin` and `end`."""
    during = [(began, ended) for began, ended in requests if ended > begin and began < end]
    if not during:
        raise ValueError("no request was under way")
    return max(ended - began for began, ended in during)


def main() -> None:
    """Write until stdin is closed; then print every request."""
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    wait_until_healthy(order["port"])
    client = Client(order["port"], order["password"])
    experiment = client.post("experiments/create", {"name": f"writer {time.time()}"})["experiment_id"]
    run = client.post("runs/create", {"experiment_id": experiment, "start_time": 0})["run"]["info"]["run_id"]
    enough = threading.Event()
    threading.Thread(target=_until_closed, args=(enough,), daemon=True).start()
    print("writing", flush=True)
    print(json.dumps(write(client, run, enough)))


def _until_closed(enough: threading.Event) -> None:
    sys.stdin.read()
    enough.set()


if __name__ == "__main__":
    main()
