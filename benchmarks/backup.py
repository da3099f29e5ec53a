"""`python -m benchmarks.backup`: our backup against a careful script, what writers feel of it, its memory."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import benchmarks
from benchmarks.clock import alternate, run
from benchmarks.peak import watched
from benchmarks.report import Comparison, tell
from benchmarks.tool import NAME, program
from benchmarks.writer import longest
from mlflow_provision.agent.backup.gzip_stream import LEVEL
from mlflow_provision.host.program import READY
from tests.lab import LabHost, RcloneS3, why_unavailable

BUCKET = "bench"
SMALL, LARGE = 200_000_000, 2_000_000_000  # bytes of the tracking database
STALL = 1.0  # seconds that a person at a web page takes for "at once"
ROUNDS = 5  # backups under a writer

UNIT, USER = f"mlflow-{NAME}.service", f"mlflow-{NAME}"
BASE = f"/opt/mlflow/{NAME}"
DATABASE = f"{BASE}/data/mlflow.db"
HERE = "/opt/benchmarks"  # on the host
SENT = ("__init__", "bare_backup", "fill", "load", "writer")


class Bench:
    """A lab host with a server, its store, and a deployment file that says to back the one up to the other."""

    password = "correct-horse-battery-staple"
    port = 5000

    def __init__(self, host: LabHost, s3: RcloneS3, folder: Path) -> None:
        self.host = host
        self.environment = {
            "MLFLOW_PROVISION_CONFIG_DIR": str(folder),
            "MLFLOW_PROVISION_SSH_CONFIG": str(host.ssh_config),
            "MLFLOW_PROVISION_ADMIN_PASSWORD": self.password,
            "MLFLOW_PROVISION_AWS_ACCESS_KEY_ID": s3.key,
            "MLFLOW_PROVISION_AWS_SECRET_ACCESS_KEY": s3.secret,
        }
        s3.create_bucket(BUCKET)
        deployment = folder / f"{NAME}.toml"
        deployment.write_text(
            f'name = "{NAME}"\nhost = "{host.user}@{host.name}"\n[mlflow]\nport = {self.port}\n'
            f'[artifacts]\ndestination = "s3://{BUCKET}/artifacts"\ncredentials = "keys"\n'
            f'endpoint_url = "{s3.endpoint}"\nregion = "us-east-1"\n'
            f'[backup]\ndestination = "s3://{BUCKET}/ours"\nschedule = "off"\n'
        )
        self.ours = [*program(), "backup", "now", NAME, "--no-verify"]
        ssh = ["ssh", "-F", str(host.ssh_config), host.name]
        self.bare = [*ssh, f"sudo -u {USER} {self._python('bare_backup', f'{BASE}/venv/bin/python')} {HERE}/order.json"]
        order = {"database": DATABASE, "scratch": f"{BASE}/data/tmp", "level": LEVEL, "bucket": BUCKET}
        self._order = {**order, "endpoint": s3.endpoint, "key": s3.key, "secret": s3.secret}

    def set_up(self) -> Bench:
        run([*program(), "setup", NAME, "--yes"], self.environment)
        there = self.host.path(HERE)
        (there / "benchmarks").mkdir(parents=True)
        for name in SENT:
            source = Path(benchmarks.__file__).with_name(f"{name}.py")
            (there / "benchmarks" / source.name).write_bytes(source.read_bytes())
        (there / "order.json").write_text(json.dumps(self._order))
        return self

    def grow(self, size: int) -> None:
        """Fill the tracking database until it has that many bytes."""
        self.host.run(["systemctl", "stop", UNIT])
        self.host.run(["runuser", "-u", USER, "--", "sh", "-c", f"{self._python('fill')} {DATABASE} {size}"])
        run([*program(), "start", NAME], self.environment)

    def writer(self) -> Writer:
        ssh = ["ssh", "-F", str(self.host.ssh_config), self.host.name, self._python("writer")]
        return Writer(ssh, json.dumps({"port": self.port, "password": self.password}))

    def _python(self, module: str, python: str = "python3") -> str:
        return f"env PYTHONPATH={HERE} PYTHONDONTWRITEBYTECODE=1 {python} -m benchmarks.{module}"


class Writer:
    """Logs metrics through the API of the server for as long as the block lasts; `requests` are known after it."""

    def __init__(self, argv: list[str], order: str) -> None:
        self._argv = argv
        self._order = order
        self.requests: list[tuple[float, float]] = []

    def __enter__(self) -> Writer:
        self._process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(self._order + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "writing\n":
            raise RuntimeError("the writer does not start")
        return self

    def __exit__(self, *_: object) -> None:
        out, _error = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError("the writer failed")
        self.requests = [(began, ended) for began, ended in json.loads(out)]


def speed(bench: Bench, times: int) -> list[Comparison]:
    """Both from the operator's machine and over SSH, taking turns; ours also checks, sums, and writes a manifest."""
    bench.grow(SMALL)
    ours, reference = alternate(bench.ours, bench.bare, times, bench.environment)
    what = f"backup of a {SMALL // 10**6} MB database against VACUUM INTO, gzip -{LEVEL}, boto3's upload_file"
    return [Comparison("speed", what, ours, reference, "s", target=1.2, detail=f"median of {times}, over SSH")]


def stall(bench: Bench, _: int) -> list[Comparison]:
    """The worst of several backups, and for comparison of as many by the script, and of as much time without any."""
    bench.grow(SMALL)
    windows: dict[str, list[tuple[float, float]]] = {"ours": [], "script": [], "nothing": []}
    with bench.writer() as writer:
        for _round in range(ROUNDS):
            for name, argv in (("ours", bench.ours), ("script", bench.bare), ("nothing", ["sleep", "3"])):
                began = time.time()
                run(argv, bench.environment)
                windows[name].append((began, time.time()))
    worst = {name: max(longest(writer.requests, *one) for one in ones) for name, ones in windows.items()}
    detail = (
        f"longest of {ROUNDS} backups of {SMALL // 10**6} MB; {worst['script']:.2f} s while the script ran, "
        f"{worst['nothing']:.2f} s while nothing did"
    )
    what = "longest wait of a client that logs metrics during a backup, against 1 s"
    return [Comparison("stall", what, worst["ours"], STALL, "s", target=1, detail=detail)]


def memory(bench: Bench, _: int) -> list[Comparison]:
    """All processes of the backup on the host."""
    peaks = []
    for size in (SMALL, LARGE):
        bench.grow(size)
        with watched(bench.host, READY) as peak:
            seconds, _out = run(bench.ours, bench.environment)
        peaks.append(peak.megabytes)
    what = f"peak memory of a backup of {LARGE / 1e9:g} GB against one of {SMALL // 10**6} MB"
    detail = f"sum of the peaks of all its processes; the large one took {seconds:.0f} s"
    return [Comparison("memory", what, peaks[1], peaks[0], "MB", target=1.2, detail=detail)]


# The last one makes the database large.
PARTS: dict[str, Callable[[Bench, int], list[Comparison]]] = {"speed": speed, "stall": stall, "memory": memory}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backup", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; repeatable (default: all)")
    parser.add_argument("--times", type=int, default=5, help="backups of either kind (default: 5)")
    parser.add_argument("--json", action="store_true", help="print for programs")
    options = parser.parse_args()
    if reason := why_unavailable():
        parser.exit(1, f"error: {reason}\n")
    chosen = [part for part in PARTS if part in (options.only or PARTS)]
    with ExitStack() as ends:
        store, folder = (Path(ends.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        bench = Bench(ends.enter_context(LabHost()), ends.enter_context(RcloneS3(store)), folder).set_up()
        return tell(chain.from_iterable(PARTS[part](bench, options.times) for part in chosen), options.json)


if __name__ == "__main__":
    sys.exit(main())
