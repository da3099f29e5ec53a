"""A server with an older MLflow, work in it and the newer release beside it: what an upgrade must leave as it was."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_provision.agent.names import UPGRADING
from mlflow_provision.config import DEFAULT_MLFLOW_VERSION
from tests.e2e.operator import Operator
from tests.e2e.served import NAME, UNIT, Served
from tests.e2e.waiting import PATIENCE, until
from tests.lab import LabHost

OLD, NEW = "3.12.0", DEFAULT_MLFLOW_VERSION
BASE = f"/opt/mlflow/{NAME}"
JOURNAL = f"{BASE}/backup/{UPGRADING}"
HISTORY = f"{BASE}/backup/upgrades"
BACKUPS = "/var/backups/mlflow"
_KEPT = ("etc/*", "deployment.*", "venv", "data/*.db", "data/*-wal", "data/.upgrade")


def ready(served: Served) -> None:
    """Work for the server to keep, and the release to upgrade to: what comes next takes seconds."""
    api = "http://127.0.0.1:5000/api/2.0/mlflow/experiments/create"
    body = ("-H", "Content-Type: application/json", "-d", '{"name": "kept"}')
    made = as_administrator(served.host, served.password, api, *body)
    assert "experiment_id" in made, made
    served.operator.run("upgrade", NAME, "--dry-run")


def as_administrator(host: LabHost, password: str, *arguments: str) -> str:
    """What the server answers, asked on its own host."""
    return host.run(["curl", "-sS", "-K", "-", *arguments], input=f'user = "admin:{password}"', check=False).stdout


@dataclass
class Unharmed:
    """`before` is what was there when it began: path on the host → content of a file (its sum), target of a link."""

    host: LabHost
    operator: Operator
    password: str = field(repr=False)
    before: dict[str, str] = field(default_factory=dict)
    deployment_file: str = ""

    @classmethod
    def of(cls, served: Served) -> Unharmed:
        found = cls(served.host, served.operator, served.password)
        served.operator.run("restart", NAME)  # what SQLite keeps beside a database is in it now
        found.before, found.deployment_file = found.seen(), served.operator.toml(NAME).read_text()
        return found

    def seen(self) -> dict[str, str]:
        """All of the server that an upgrade touches; what is empty is as good as nothing."""
        root = self.path("/")
        paths = [path for pattern in _KEPT for path in (root / BASE[1:]).glob(pattern)]
        paths += (root / "etc/systemd/system").glob(f"{UNIT}*")
        return {str(path.relative_to(root)): content for path in paths if (content := _content(path))}

    def path(self, inside: str) -> Path:
        """Where a file of the host lies, as the host sees it: with what is mounted there."""
        boot = self.host.place.group.leader()
        return Path(f"/proc/{boot}/root", inside.lstrip("/")) if boot else self.host.path(inside)

    @property
    def phase(self) -> str:
        """What the journal says; "" when there is none."""
        try:
            return str(json.loads(self.path(JOURNAL).read_text())["phase"])
        except (OSError, ValueError):
            return ""

    def serving(self) -> int:
        """The process that serves."""
        return int(self.host.run(["systemctl", "show", UNIT, "--property=MainPID", "--value"]).stdout)

    def reaches(self, phase: str, process: subprocess.Popen[str] | None = None) -> None:
        """Wait until the journal says so."""
        until(lambda: self.phase == phase, lambda: f"{phase} never came", process=process, pause=0.001)

    @contextmanager
    def upgrading(self, phase: str) -> Iterator[subprocess.Popen[str]]:
        """An upgrade that has come so far. Whatever is done to it then, it fails, and people are told in words."""
        process = self.operator.start("upgrade", NAME, "--yes")
        self.reaches(phase, process)
        try:
            yield process
        finally:
            shown = list(process.communicate(timeout=PATIENCE))
            self.operator.shown += shown
        assert "Traceback" not in "".join(shown), shown
        assert process.returncode != 0, shown

    def workers(self) -> tuple[list[int], list[int]]:
        """The processes that are at work on an upgrade: the agent, and its watchdog."""
        boot = self.host.place.group.leader()
        assert boot
        parents = {pid: parent for pid, parent in _of(boot) if _has_open(pid, f"{JOURNAL}.lock")}
        agents = [pid for pid, parent in parents.items() if parent != boot and parent not in parents]
        return agents, [pid for pid, parent in parents.items() if parent == boot]

    def kill(self, *pids: int) -> None:
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def is_as_it_was(self) -> None:
        """Wait for the old server; all of it is what it was, and nothing of the upgrade is left."""
        self._waits("somebody is still at it", lambda: not self.phase and self.workers() == ([], []))
        self._waits("the old server does not answer", lambda: self.answers() == OLD)
        assert self.seen() == self.before
        assert not self.path(JOURNAL).exists()
        properties = "--property=DropInPaths,NeedDaemonReload,ActiveState"
        shown = self.host.run(["systemctl", "show", UNIT, properties]).stdout.split()
        assert sorted(shown) == ["ActiveState=active", "DropInPaths=", "NeedDaemonReload=no"]
        assert self.operator.toml(NAME).read_text() == self.deployment_file

    def answers(self) -> str:
        """The version that the server says it is."""
        return as_administrator(self.host, self.password, "--max-time", "5", "http://127.0.0.1:5000/version").strip()

    def _waits(self, complaint: str, done: Callable[[], bool]) -> None:
        until(done, lambda: f"{complaint}: {self.phase!r} {self.workers()} {self.answers()}", pause=0.05)

    @contextmanager
    def broken(self, module: str, *, instead: tuple[str, str] = ("", ""), more: str = "") -> Iterator[None]:
        """A module of the new release is another one within the block: something in it replaced, or added to it."""
        (path,) = self.host.path("/opt/mlflow/releases").glob(f"{NEW}-*/lib/python3*/site-packages/mlflow/{module}")
        aside = path.with_name(f"{path.name}.aside")
        text = path.read_text()
        assert instead[0] in text
        path.rename(aside)
        path.write_text(text.replace(*instead, 1) + more if instead[0] else text + more)
        try:
            yield
        finally:
            aside.replace(path)


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    if path.is_dir():
        return "a folder"
    content = path.read_bytes()
    return hashlib.sha256(content).hexdigest() if content else ""


def _of(boot: int) -> Iterator[tuple[int, int]]:
    """The processes of the host that `boot` is the first of, and their parents."""
    same = Path(f"/proc/{boot}/ns/pid").readlink()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "ns/pid").readlink() == same:
                yield int(entry.name), int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue


def _has_open(pid: int, path: str) -> bool:
    try:
        return any(str(link.readlink()).endswith(path) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
