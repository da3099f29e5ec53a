"""Killed at any moment, a run is finished by the next one, and the host is then the same as if nothing had happened."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mlflow_provision.agent import process_group
from mlflow_provision.agent.apply import apply, plan
from mlflow_provision.agent.protocol import Event, Result
from mlflow_provision.agent.resources import Resource
from mlflow_provision.agent.resources.admin_user import AdminUser
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.resources.generated_secrets import GeneratedSecrets
from mlflow_provision.agent.resources.record import Record
from mlflow_provision.agent.resources.release import Release
from mlflow_provision.agent.resources.sqlite_database import SqliteDatabase
from mlflow_provision.agent.resources.symlink import Symlink
from mlflow_provision.agent.resources.uv import Uv
from tests.agent.converge import snapshot
from tests.agent.package_index import PackageIndex, uv_wheel
from tests.agent.test_admin_user import pbkdf2
from tests.agent.tiny_server import TinyServer

KILLED = 99
# What the fake uv puts into a venv: a Python that makes the user database, as the real one does.
MAKE_VENV = """
case $1 in
venv) for last; do :; done; mkdir -p "$last/bin"; cp {python} "$last/bin/python" ;;
esac
"""
MAKE_ADMIN = """#!{python} -IS
import json, sqlite3, sys
request = json.load(sys.stdin)
with sqlite3.connect(request["database"]) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS users (username TEXT PRIMARY KEY, password_hash TEXT, is_admin INT)")
    connection.execute("INSERT OR REPLACE INTO users VALUES (?, ?, 1)", (request["username"], {hash!r}))
"""


class Killed(BaseException):
    """What `kill -9` would be, were it not for the test that goes on."""


def never() -> bool:
    return False


@pytest.fixture
def resources(tmp_path: Path, package_index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> list[Resource]:
    """A small deployment with a resource of every kind that needs neither root nor systemd."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no kill can undo what is written, and this is fast
    monkeypatch.setattr("secrets.token_urlsafe", lambda size: "generated" * 5)
    python = tmp_path / "python"
    python.write_text(MAKE_ADMIN.format(python=sys.executable, hash=pbkdf2("a password")))
    python.chmod(0o755)
    wheel = package_index.add("uv", "uv.whl", uv_wheel("0.9.9", MAKE_VENV.format(python=shlex.quote(str(python)))))
    root = tmp_path / "root"
    base, release = root / "server", root / "releases" / "3.17.2-abc"
    return [
        Directory("root", str(root)),
        File("marker", str(root / ".mlflow-provision"), "ours\n"),
        Uv("uv", str(root / "bin" / "uv"), "0.9.9", {os.uname().machine: ("uv.whl", wheel)}, package_index.url),
        Release(
            "release", str(release), str(root / "bin" / "uv"), ("mlflow",), ("a==1",), ">=3.10", str(root / "python")
        ),
        Directory("base", str(base)),
        Directory("etc", str(base / "etc"), 0o750),
        Directory("data", str(base / "data"), 0o750),
        GeneratedSecrets("secrets.env", str(base / "etc" / "secrets.env"), ("A_KEY", "B_KEY"), 0o640),
        File("server.env", str(base / "etc" / "server.env"), "PORT=5000\n", 0o640),
        Symlink("venv", str(base / "venv"), str(release)),
        SqliteDatabase("database", str(base / "data" / "mlflow.db")),
        AdminUser("admin", "admin", "a password", str(base / "data" / "auth.db"), str(release), str(base / "auth.ini")),
        Record("record", str(base / "deployment.json"), {"version": "3.17.2"}, "ada@laptop"),
    ]


def final(root: Path) -> dict[str, tuple[object, ...]]:
    """The tree, without what differs between two runs that went well."""
    seen = snapshot(root)
    for name, entry in seen.items():
        if name.endswith("deployment.json"):
            record = json.loads(str(entry[3], "utf-8") if isinstance(entry[3], bytes) else "{}")
            seen[name] = (*entry[:3], {key: value for key, value in record.items() if key != "applied_at"})
        elif name.endswith((".db", ".log", ".pid")):  # counters, times and process ids
            seen[name] = entry[:3]
    return seen


def count(resources: Sequence[Resource]) -> int:
    return apply(resources, lambda event: None, never)


def test_with_nothing_to_do_neither_plan_nor_apply_writes_anything(resources: list[Resource], tmp_path: Path) -> None:
    assert plan(resources, lambda event: None) == len(resources)
    assert not (tmp_path / "root").exists()
    count(resources)
    before = snapshot(tmp_path / "root", times=True)
    assert plan(resources, lambda event: None) == count(resources) == 0
    assert snapshot(tmp_path / "root", times=True) == before


def test_killed_after_every_single_resource(resources: list[Resource], tmp_path: Path) -> None:
    root = tmp_path / "root"
    count(resources)
    expected = final(root)
    for last in resources:
        shutil.rmtree(root)
        with pytest.raises(Killed):
            apply(resources, kill_after(last.id), never)
        finished = count(resources)
        assert final(root) == expected, f"killed after {last.id}"
        assert count(resources) == 0
        done = resources.index(last) + 1
        assert finished == len(resources) - done or last.id == "record"


def kill_after(step: str) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        if isinstance(event, Result) and event.step == step:
            raise Killed

    return emit


def test_killed_at_every_single_change_of_the_disk(resources: list[Resource], tmp_path: Path) -> None:
    """Every system call that changes something, one after the other, is the last one of a run."""
    root = tmp_path / "root"
    count(resources)
    expected = final(root)
    moments = 0
    while True:
        shutil.rmtree(root)
        if run_and_die(resources, moments) != KILLED:
            break
        count(resources)
        assert final(root) == expected, f"killed at the change number {moments}"
        moments += 1
    assert moments > 30
    assert count(resources) == 0


def run_and_die(resources: list[Resource], moment: int) -> int:
    """Apply in a child process that dies just before its change number `moment`; returns its exit code."""
    child = os.fork()
    if child == 0:
        seen = 0

        def look(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.chmod", "os.chown")
            if changes or event == "subprocess.Popen" or (event == "open" and arguments[2] not in (0, 0o2000000)):
                if seen == moment:
                    os._exit(KILLED)
                seen += 1

        try:
            sys.addaudithook(look)
            count(resources)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_around_the_start_of_the_server(tmp_path: Path) -> None:
    server = TinyServer(tmp_path / "server")
    before = File("server.env", str(server.settings), "PORT=1\n")
    record = Record("record", str(tmp_path / "record"), {"a": 1}, "ada@laptop")
    resources: list[Resource] = [dataclasses.replace(before, content="PORT=2\n"), server.resource, record]
    try:
        for last in resources:
            count([before, server.resource])
            with pytest.raises(Killed):
                apply(resources, kill_after(last.id), never)
            count(resources)
            assert count(resources) == 0, f"killed after {last.id}"
            assert server.resource.status()["healthy"] is True
            assert hashlib.sha256(b"PORT=2\n").hexdigest() in (server.folder / "started-with").read_text()
    finally:
        process_group.end(server.resource.pid_file)
