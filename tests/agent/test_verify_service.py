"""Ports and systemd, with the kernel's and systemd's answers made up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent import command, process_group, processes, running, sockets
from mlflow_provision.agent.sockets import Listener
from mlflow_provision.agent.verify import service
from mlflow_provision.agent.verify.checks import Failed
from mlflow_provision.agent.verify.log import ServerLog
from mlflow_provision.agent.verify.target import Target, target

UNIT = "mlflow-server.service"


def server(**changes: Any) -> Target:
    return target({"url": "http://127.0.0.1:5000", "listen": "127.0.0.1", "port": 5000, "unit": UNIT, **changes})


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> list[Listener]:
    found: list[Listener] = []
    monkeypatch.setattr(sockets, "listeners", lambda: found)
    monkeypatch.setattr(sockets, "owner", lambda inode: os.getpid())
    monkeypatch.setattr(service, "_pids", lambda target: [1])
    monkeypatch.setattr(processes, "sockets", lambda pids: {"ours", "ours too"})
    return found


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "::1"),
        ("::1", "::1"),
        ("0.0.0.0", "0.0.0.0"),
        ("10.0.0.5", "::ffff:10.0.0.5"),
    ],
)
def test_bound_where_it_should_be(listening: list[Listener], listen: str, address: str) -> None:
    listening += [Listener(address, 5000, "ours"), Listener("0.0.0.0", 22, "sshd")]
    assert service.port(server(listen=listen)) == f"{address}:5000"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "nothing listens on port 5000"),
        ([Listener("0.0.0.0", 5000, "ours")], "found it bound at 0.0.0.0"),
        ([Listener("127.0.0.1", 5000, "ours"), Listener("10.0.0.5", 5000, "x")], "also bound at 10.0.0.5"),
        ([Listener("127.0.0.1", 5000, "ours"), Listener("0.0.0.0", 8080, "ours too")], "also listens on 0.0.0.0:8080"),
        ([Listener("127.0.0.1", 5000, "theirs")], f"(process {os.getpid()}), not by the server"),
    ],
    ids=("nobody", "another-address", "two-addresses", "two-ports", "another-program"),  # the same in every process
)
def test_bound_otherwise(listening: list[Listener], found: list[Listener], words: str) -> None:
    listening += found
    with pytest.raises(Failed) as caught:
        service.port(server())
    assert words in str(caught.value)


def test_whoever_holds_the_port_of_a_server_that_is_gone(
    listening: list[Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    listening.append(Listener("127.0.0.1", 5000, "theirs"))
    monkeypatch.setattr(processes, "sockets", lambda pids: set())
    monkeypatch.setattr(service, "_pids", lambda target: [])
    with pytest.raises(Failed, match="not by the server"):
        service.port(server())
    monkeypatch.setattr(service, "unit_of", lambda pid: UNIT)  # it is there again
    assert service.port(server()) == "127.0.0.1:5000"
    monkeypatch.setattr(service, "unit_of", lambda pid: "")
    monkeypatch.setattr(service, "_pids", lambda target: None)
    assert service.port(server()) == "127.0.0.1:5000"


def test_of_a_chain_of_exceptions_that_is_still_being_written_the_last_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.touch()
    log = ServerLog(server(unit="", service={"log": str(path)}))
    path.write_text("Traceback (most recent call last):\n  File x\nOSError: refused\n")

    def more() -> None:
        with path.open("a") as file:
            file.write("\nThe above …\n\nTraceback (most recent call last):\n  File y\nProxyError: no proxy\n")

    threading.Timer(0.1, more).start()
    assert log.last_exception() == "ProxyError: no proxy"


class Systemd:
    """Answers `systemctl show` for a unit whose main process is a real one."""

    def __init__(self, restarts: bool) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        self.state = {"UnitFileState": "enabled", "MainPID": str(self.process.pid), "ActiveState": "active"}
        self.restarts = restarts

    def capture(self, argv: list[str], timeout: float = 30.0) -> str:
        if argv[0] == "journalctl":
            return "Traceback (most recent call last):\n  File x\nRuntimeError: no more\n"
        assert argv[:3] == ["systemctl", "show", UNIT]
        if self.process.poll() is not None:
            new = (
                {"MainPID": "1", "ActiveState": "active"}
                if self.restarts
                else {"MainPID": "0", "ActiveState": "failed"}
            )
            self.state.update(new)
        return "".join(f"{name}={value}\n" for name, value in self.state.items())


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Systemd]:
    fake = Systemd(getattr(request, "param", True))
    monkeypatch.setattr(command, "capture", fake.capture)
    monkeypatch.setattr(running, "health", lambda url: "")
    yield fake
    fake.process.kill()
    fake.process.wait()


def test_enabled(systemd: Systemd) -> None:
    assert service.enabled(server()) == UNIT


def test_not_enabled(systemd: Systemd) -> None:
    systemd.state["UnitFileState"] = "disabled"
    with pytest.raises(Failed, match="is disabled: sudo systemctl enable"):
        service.enabled(server())


def test_killed_and_back(systemd: Systemd) -> None:
    assert "healthy again after" in service.kill(server(), lambda: False)
    assert systemd.process.wait(5) == -9


@pytest.mark.parametrize("systemd", [False], indirect=True)
def test_killed_and_gone_says_why_at_once(systemd: Systemd) -> None:
    started = time.monotonic()
    with pytest.raises(Failed) as caught:
        service.kill(server(), lambda: False)
    assert time.monotonic() - started < 5
    assert "was not restarted" in str(caught.value) and "RuntimeError: no more" in str(caught.value)


def test_no_main_process_to_kill(systemd: Systemd) -> None:
    systemd.state["MainPID"] = "0"
    with pytest.raises(Failed, match="has no main process"):
        service.kill(server(), lambda: False)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux")
def test_a_background_process_that_listens_on_more_than_its_port(tmp_path: Path) -> None:
    """The real thing: kernel, process group, pid file."""
    program = "import socket,time; a=socket.create_server(('127.0.0.1',0)); b=socket.create_server(('127.0.0.1',0)); "
    program += "print(a.getsockname()[1], b.getsockname()[1], flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        port, other = map(int, process.stdout.readline().split())
        process_group.remember(str(tmp_path / "pid"), process.pid)
        resource = {"kind": "BackgroundProcess", "id": "", "script": "", "url": "", "pid_file": str(tmp_path / "pid")}
        resource.update({"log": "", "started_with": "", "watched": [], "restart_on": []})  # type: ignore[dict-item]
        with pytest.raises(Failed, match=f"also listens on 127.0.0.1:{other}"):
            service.port(server(port=port, unit="", service=resource))
    finally:
        process.kill()
        process.wait()
