"""Facts about this very machine, in a temporary home."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent import facts as module
from mlflow_provision.agent import process_group
from mlflow_provision.agent.facts import facts
from mlflow_provision.agent.names import MARKER
from mlflow_provision.agent.restore.journal import close_door, journal_in
from tests.agent.package_index import PackageIndex


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def request_data(home: Path, package_index: PackageIndex) -> dict[str, Any]:
    return {
        "root": "~/mlflow",
        "name": "server",
        "port": 5000,
        "unit": "",
        "version": "3.17.2",
        "index_url": package_index.url,
        "operator_time": time.time(),
        "release": "3.17.2-abc",
    }


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def install(home: Path) -> None:
    release = home / "mlflow" / "releases" / "3.17.2-abc"
    release.mkdir(parents=True)
    (release / "release.json").write_text("{}")


def test_what_the_machine_is(request_data: dict[str, Any], home: Path) -> None:
    found = facts(request_data)
    assert json.loads(json.dumps(found)) == found
    assert found["arch"] == platform.machine()
    assert re.fullmatch(r"\d+\.\d+", found["libc"]) or not sys.platform.startswith("linux") or not found["libc"]
    assert found["python"] == {"path": sys.executable, "version": platform.python_version()}
    assert (found["uid"], found["home"]) == (os.geteuid(), str(home))
    assert found["hostname"] == socket.gethostname()
    assert found["cpus"] >= 1
    assert 64 << 20 < found["memory"] < 1 << 44
    assert abs(found["disk_free"] - shutil.disk_usage(home).free) < 1 << 30
    assert abs(found["time"] - time.time()) < 5
    assert found["os"]["name"]
    assert "127.0.0.1" not in found["addresses"]


def test_a_quoted_os_release_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "os-release").write_text(
        'ID=ubuntu\nVERSION_ID="22.04"\nPRETTY_NAME="Ubuntu 22.04.4 LTS"\n# x\n\nBAD\n'
    )
    monkeypatch.setattr(module, "Path", lambda path: tmp_path / Path(path).name)
    assert module._os_release() == {"id": "ubuntu", "version": "22.04", "name": "Ubuntu 22.04.4 LTS"}
    (tmp_path / "os-release").unlink()
    assert module._os_release() == {"id": "", "version": "", "name": "unknown"}


def test_asking_changes_nothing(request_data: dict[str, Any], home: Path) -> None:
    facts(request_data)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "state"),
    [
        (None, "absent"),
        ([], "empty"),
        ([MARKER], "ours"),
        ([MARKER, "notes.txt"], "ours"),
        (["notes.txt"], "foreign"),
        ([".lock"], "empty"),
    ],
)
def test_whose_the_root_is(request_data: dict[str, Any], home: Path, files: list[str] | None, state: str) -> None:
    if files is not None:
        (home / "mlflow").mkdir()
        for name in files:
            (home / "mlflow" / name).touch()
    assert facts(request_data)["root"] == {"path": str(home / "mlflow"), "state": state}


def test_a_file_in_its_place_is_foreign(request_data: dict[str, Any], home: Path) -> None:
    (home / "mlflow").touch()
    assert facts(request_data)["root"]["state"] == "foreign"


def test_an_absolute_root_is_taken_as_it_is(request_data: dict[str, Any], home: Path) -> None:
    request_data["root"] = str(home / "some" / "where" / "else")
    found = facts(request_data)
    assert found["root"] == {"path": request_data["root"], "state": "absent"}
    assert found["disk_free"] > 0


def test_what_was_applied(request_data: dict[str, Any], home: Path) -> None:
    assert facts(request_data)["applied"] is None
    (home / "mlflow" / "server" / "data").mkdir(parents=True)
    (home / "mlflow" / "server" / "deployment.json").write_text('{"mlflow_version": "3.16.1"}')
    (home / "mlflow" / "server" / "data" / "basic_auth.db").touch()
    found = facts(request_data)
    assert found["applied"] == {"mlflow_version": "3.16.1"}
    assert found["admin_exists"] is True


def test_the_deployments_below_the_root_are_told_by_their_records(request_data: dict[str, Any], home: Path) -> None:
    root = home / "mlflow"
    for name, text in {
        "prod": '{"name": "prod", "mlflow_version": "3.17.2", "port": 5000, "hashes": {"/x": "y"}}',
        "broken": "{",
        "list": "[]",
        "nameless": "{}",
    }.items():
        (root / name).mkdir(parents=True)
        (root / name / "deployment.json").write_text(text)
    assert facts(request_data)["deployments"] == [{"name": "prod", "mlflow_version": "3.17.2", "port": 5000}]


def test_a_restore_that_is_half_way_is_known(request_data: dict[str, Any], home: Path) -> None:
    assert facts(request_data)["restoring"] is False
    journal = journal_in(str(home / "mlflow" / request_data["name"] / "backup"))
    Path(journal.folder).mkdir(parents=True)
    close_door(journal.folder)
    assert facts(request_data)["restoring"] is True


def test_the_index_is_asked_only_while_nothing_is_installed(
    request_data: dict[str, Any], home: Path, package_index: PackageIndex
) -> None:
    for project in ("mlflow", "mlflow_skinny", "mlflow_tracing"):
        package_index.add(project.replace("_", "-"), f"{project}-3.17.2-py3-none-any.whl")
    package_index.add("mlflow", "mlflow-3.18.0-py3-none-any.whl")
    found = facts(request_data)
    assert found["release_installed"] is False
    assert found["index"] == {"error": "", "hint": "", "versions": ["3.17.2"], "half_published": ["3.18.0"]}
    install(home)
    package_index.requests.clear()
    found = facts(request_data)
    assert (found["release_installed"], found["index"]) == (True, None)
    assert package_index.requests == []


def test_an_index_that_does_not_answer_is_a_fact_and_no_failure(request_data: dict[str, Any]) -> None:
    request_data["index_url"] = "http://127.0.0.1:1/simple"
    index = facts(request_data)["index"]
    assert "cannot reach the package index 127.0.0.1" in index["error"]
    assert "--index-url" in index["hint"]
    assert index["versions"] == []


def test_a_free_port_is_free(request_data: dict[str, Any], home: Path) -> None:
    install(home)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        request_data["port"] = probe.getsockname()[1]
    found = facts(request_data)
    assert (found["port_owner"], found["free_port"]) == (None, request_data["port"])


def test_who_has_the_port(request_data: dict[str, Any], home: Path, listener: socket.socket) -> None:
    install(home)
    request_data["port"] = listener.getsockname()[1]
    found = facts(request_data)
    assert found["port_owner"]["pid"] == os.getpid()
    assert found["port_owner"]["name"] == Path("/proc/self/comm").read_text().strip()
    assert found["port_owner"]["ours"] is False
    assert found["free_port"] > request_data["port"]


def test_a_port_of_our_own_server_is_ours_and_so_is_one_of_its_workers(
    request_data: dict[str, Any], home: Path
) -> None:
    install(home)
    (home / "mlflow" / "server").mkdir(parents=True)
    program = "import os, socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    worker = f"{program}; import time; time.sleep(600)"
    main = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {worker!r}]); time.sleep(600)"
    pid_file = str(home / "mlflow" / "server" / "server.pid")
    with subprocess.Popen([sys.executable, "-c", main], stdout=subprocess.PIPE, start_new_session=True) as server:
        assert server.stdout is not None
        request_data["port"] = int(server.stdout.readline())
        process_group.remember(pid_file, server.pid)
        owner = facts(request_data)["port_owner"]
        assert (owner["ours"], owner["pid"] != server.pid) == (True, True)
        server.kill()
        server.wait()
        assert facts(request_data)["port_owner"]["ours"] is True
        process_group.end(pid_file)
    assert facts(request_data)["port_owner"] is None


@pytest.mark.parametrize("unit", ["mlflow-server.service", "nginx.service"])
def test_a_port_of_a_unit(
    request_data: dict[str, Any], home: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    install(home)
    monkeypatch.setattr(module, "unit_of", lambda pid: unit)
    request_data.update(port=listener.getsockname()[1], unit="mlflow-server.service")
    owner = facts(request_data)["port_owner"]
    assert (owner["unit"], owner["ours"]) == (unit, unit == "mlflow-server.service")


def test_a_port_of_a_program_we_may_not_see(
    request_data: dict[str, Any], home: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(home)
    monkeypatch.setattr("mlflow_provision.agent.sockets.owner", lambda inode: 0)
    request_data["port"] = listener.getsockname()[1]
    owner = facts(request_data)["port_owner"]
    assert owner == {"pid": 0, "name": "another user's program", "unit": "", "ours": False}


def test_a_program_that_ends_while_we_look_is_no_crash(
    request_data: dict[str, Any], home: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(home)
    monkeypatch.setattr("mlflow_provision.agent.sockets.owner", lambda inode: 2**22 + 1)
    request_data["port"] = listener.getsockname()[1]
    assert facts(request_data)["port_owner"]["ours"] is False


@pytest.mark.parametrize(
    ("content", "state"), [(None, "absent"), ("# Managed by mlflow-provision\n", "ours"), ("[Unit]\n", "foreign")]
)
def test_whose_the_unit_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, state: str) -> None:
    monkeypatch.setattr(module, "Path", lambda path: tmp_path if "systemd" in str(path) else Path(path))
    if content is not None:
        (tmp_path / "mlflow-server.service").write_text(content)
    assert module._unit_state("mlflow-server.service") == state
    assert module._unit_state("") == "absent"


def test_a_user_without_a_name_has_a_number(
    request_data: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As containers are run with `--user 12345`."""
    install(home)
    monkeypatch.setattr(os, "geteuid", lambda: 123456)
    assert facts(request_data)["user"] == "123456"


def test_an_upgrade_that_is_half_way_is_known(request_data: dict[str, Any], home: Path) -> None:
    assert facts(request_data)["upgrading"] is False
    journal = home / "mlflow" / request_data["name"] / "backup" / "upgrading"
    journal.parent.mkdir(parents=True)
    journal.touch()
    assert facts(request_data)["upgrading"] is True
