"""`python -m benchmarks.setup`: a server made by mlflow-provision against one made the plain way."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from benchmarks import help, load, noop
from benchmarks.hosts import Hosts
from benchmarks.memory import idle_memory
from benchmarks.report import Comparison, tell
from benchmarks.shell_script import ShellScript
from benchmarks.tool import Tool
from tests.lab import why_unavailable

CLIENTS = 16
SECONDS_OF_LOAD = 15


def blank(hosts: Hosts, _: int) -> list[Comparison]:
    """Both servers from nothing. Ours is verified at the end, the other one only answers."""
    ours, reference = hosts.ours, hosts.reference
    what = "blank host to verified server against apt, venv, pip, unit, wait for health"
    return [Comparison("blank", what, ours.seconds, reference.seconds, "s", target=0.35)]


def memory(hosts: Hosts, _: int) -> list[Comparison]:
    """Both servers at rest."""
    ours, our_processes = idle_memory(hosts.ours.host, hosts.ours.unit)
    reference, processes = idle_memory(hosts.reference.host, hosts.reference.unit)
    what = "idle server against MLflow's defaults"
    detail = f"{our_processes} processes against {processes}; proportional set size"
    return [Comparison("memory", what, ours, reference, "MB", target=0.25, detail=detail)]


def requests(hosts: Hosts, _: int) -> list[Comparison]:
    """One server under load at a time; the other one is stopped meanwhile."""
    reference = _rate(hosts.reference, but_stop=hosts.ours)
    ours = _rate(hosts.ours, but_stop=hosts.reference)
    what = f"log-metric requests with {CLIENTS} clients and basic auth against MLflow's default settings"
    return [Comparison("requests", what, ours, reference, "per second", target=10, at_most=False)]


def _rate(server: Tool | ShellScript, but_stop: Tool | ShellScript) -> float:
    order = {"port": server.port, "password": server.password, "clients": CLIENTS, "seconds": SECONDS_OF_LOAD}
    source = Path(load.__file__).read_text("utf-8")
    but_stop.host.run(["systemctl", "stop", but_stop.unit])
    try:
        answer = json.loads(server.host.run(["python3", "-c", source], input=json.dumps(order) + "\n").stdout)
    finally:
        but_stop.host.run(["systemctl", "start", but_stop.unit])
    if answer["errors"]:
        raise RuntimeError(f"{server.host.name}: {answer['errors'][0]}")
    return float(answer["rate"])


# Those that want a machine at rest come before those that do not; the other server is made for `blank`.
PARTS: dict[str, Callable[[Hosts, int], list[Comparison]]] = {
    "help": lambda _, times: [help.measure(max(20, times))],
    "noop": lambda hosts, times: noop.measure(hosts.ours, times),
    "blank": blank,
    "memory": memory,
    "requests": requests,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.setup", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; repeatable (default: all)")
    parser.add_argument("--times", type=int, default=9, help="runs of what is short (default: 9; help: 20 at least)")
    parser.add_argument("--json", action="store_true", help="print for programs")
    options = parser.parse_args()
    chosen = [part for part in PARTS if part in (options.only or PARTS)]
    if chosen != ["help"] and (reason := why_unavailable()):
        parser.exit(1, f"error: {reason}\n")
    with Hosts() as hosts:
        return tell(chain.from_iterable(PARTS[part](hosts, options.times) for part in chosen), options.json)


if __name__ == "__main__":
    sys.exit(main())
