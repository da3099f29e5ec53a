"""`python -m benchmarks.tunnel`: a supervised tunnel against plain `ssh -L`; how soon it is back after a cut link."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.report import Comparison, tell
from benchmarks.tool import program
from mlflow_provision.tunnel.ports import first_free
from tests.lab import LabHost, why_unavailable

NAME = "bench"
MEGABYTES = 256
REQUESTS = 2000
ROUNDS = 5
REMOTE = 8123
# It stands for the server: no database and no password check between us and the tunnel's own speed.
SERVER = f"""
import http.server
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        chunk, count = (b"x" * 1048576, {MEGABYTES}) if self.path == "/large" else (b"OK", 1)
        if self.path == "/version":
            chunk = b"3.17.2"
        self.send_response(200)
        self.send_header("Content-Length", str(len(chunk) * count))
        self.end_headers()
        for _ in range(count):
            self.wfile.write(chunk)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", {REMOTE}), Page).serve_forever()
"""


class Bench:
    """A lab host, a deployment file that leads to it, and a tunnel of either kind to the same page."""

    def __init__(self, host: LabHost, folder: Path) -> None:
        self.host = host
        self.environment = {
            **os.environ,
            "MLFLOW_PROVISION_CONFIG_DIR": str(folder / "config"),
            "MLFLOW_PROVISION_STATE_DIR": str(folder / "state"),
            "MLFLOW_PROVISION_SSH_CONFIG": str(host.ssh_config),
        }
        (folder / "config").mkdir()
        text = f'name = "{NAME}"\nhost = "{host.user}@{host.name}"\n[mlflow]\nport = {REMOTE}\n'
        (folder / "config" / f"{NAME}.toml").write_text(text)

    def tool(self, *arguments: str) -> dict[str, object]:
        finished = subprocess.run(
            [*program(), "tunnel", *arguments, "--json"], env=self.environment, capture_output=True, text=True
        )
        answer: dict[str, object] = json.loads(finished.stdout)
        if finished.returncode:
            raise RuntimeError(finished.stderr)
        return answer

    @contextmanager
    def ours(self) -> Iterator[int]:
        tunnel = self.tool(NAME, "--background")["tunnel"]
        try:
            yield int(tunnel["port"])  # type: ignore[index]
        finally:
            self.tool("--stop", NAME)

    @contextmanager
    def plain(self) -> Iterator[int]:
        port = first_free(5501)
        forward = f"127.0.0.1:{port}:127.0.0.1:{REMOTE}"
        ssh = ["ssh", "-F", str(self.host.ssh_config), "-N", "-L", forward, f"{self.host.user}@{self.host.name}"]
        with subprocess.Popen(ssh, stdin=subprocess.DEVNULL) as process:
            try:
                _wait_for(port)
                yield port
            finally:
                process.terminate()


def throughput(port: int) -> float:
    """MB/s of one large download."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/large")
    response, received = connection.getresponse(), 0
    while data := response.read(1 << 20):
        received += len(data)
    connection.close()
    if received != MEGABYTES << 20:
        raise RuntimeError(f"{received} bytes came")
    return received / (time.perf_counter() - began) / 1e6


def latencies(ours: int, plain: int) -> tuple[float, float]:
    """Milliseconds of a small request over a connection of its own: the medians, of requests that take turns."""
    times: dict[int, list[float]] = {ours: [], plain: []}
    for number in range(REQUESTS):
        for port in (ours, plain) if number % 2 else (plain, ours):
            began = time.perf_counter()
            _get(port, "/health", 10)
            times[port].append(time.perf_counter() - began)
    return statistics.median(times[ours]) * 1000, statistics.median(times[plain]) * 1000


def compared(bench: Bench) -> list[Comparison]:
    """Both tunnels are open all the time and take turns."""
    fast: list[tuple[float, float]] = []
    with bench.ours() as ours, bench.plain() as plain:
        for round_ in range(ROUNDS):
            order = (ours, plain) if round_ % 2 else (plain, ours)
            speeds = {port: throughput(port) for port in order}
            fast.append((speeds[ours], speeds[plain]))
        least, least_plain = latencies(ours, plain)
    best, best_plain = (max(pair[side] for pair in fast) for side in (0, 1))
    what = f"{MEGABYTES} MiB download against ssh -L"
    return [
        Comparison("throughput", what, best, best_plain, "MB/s", target=0.95, at_most=False),
        Comparison("latency", "small requests against ssh -L", least, least_plain, "ms", target=1 / 0.95),
    ]


def recovery(bench: Bench, cuts: tuple[float, ...] = (20, 24, 29)) -> Comparison:
    """Seconds from the link's return to the first answer; the worst of several lengths of the cut."""
    times = []
    with bench.ours() as port:
        for seconds in cuts:
            bench.host.network.cut()
            time.sleep(seconds)
            bench.host.network.restore()
            began = time.monotonic()
            while not _answers(port):
                if time.monotonic() - began > 60:
                    raise RuntimeError("it never came back")
                time.sleep(0.05)
            times.append(time.monotonic() - began)
    detail = "each: " + ", ".join(f"{took:.1f} s" for took in times)
    return Comparison("recovery", "back after a cut link, against 10 s", max(times), 10, "s", target=1, detail=detail)


def _answers(port: int) -> bool:
    try:
        return _get(port, "/health", 1) == b"OK"
    except (OSError, http.client.HTTPException):
        return False


def _get(port: int, path: str, timeout: float) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _wait_for(port: int, timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not _answers(port):
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing answers at port {port}")
        time.sleep(0.05)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tunnel", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print for programs")
    options = parser.parse_args()
    if reason := why_unavailable():
        parser.exit(1, f"error: {reason}\n")
    with ExitStack() as ends:
        host = ends.enter_context(LabHost())
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        page = ["systemd-run", "--unit=page", "python3", "-c", SERVER]
        host.run(page)
        bench = Bench(host, folder)
        return tell([*compared(bench), recovery(bench)], options.json)


if __name__ == "__main__":
    sys.exit(main())
