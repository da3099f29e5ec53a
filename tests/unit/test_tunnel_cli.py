"""`tunnel`, `run`, `open`, `env` and `connect()`: a supervisor in a process of its own, with an ssh that is none."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

import mlflow_provision
from mlflow_provision.config import Deployment, MLflow
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.tunnel import registry
from mlflow_provision.tunnel.background import trim
from mlflow_provision.tunnel.route import destination, direct_url, remote_end
from tests.unit.conftest import PASSWORD, CommandLine
from tests.unit.fake_ssh import FakeSsh
from tests.unit.test_tunnel_supervisor import Page

NASTY = r"""it's $(not) "run" `x` \n #1 %USERNAME% !! \' \\"""


@pytest.fixture
def mlflow() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line: CommandLine) -> Iterator[FakeSsh]:
    fake = FakeSsh(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    yield fake
    command_line.run("tunnel", "--stop", "--all")


@pytest.fixture
def reached(ssh: FakeSsh, mlflow: int, command_line: CommandLine) -> CommandLine:
    """A known deployment, with MLflow behind every tunnel to it."""
    ssh.then(leads_to=mlflow)
    command_line.known("prod")
    return command_line


def test_background_list_stop(reached: CommandLine) -> None:
    answer = reached.json("tunnel", "prod", "--background")
    assert answer["ok"] and answer["tunnel"]["state"] == "up" and answer["tunnel"]["mode"] == "background"
    url = answer["tunnel"]["url"]
    assert "runs already, in the background, since" in reached.run("tunnel", "prod").stdout
    assert url in reached.run("tunnel", "--list").stdout and url in reached.run("env", "prod").stdout
    assert reached.json("status", "prod")["status"]["url"] == url
    assert "has ended" in reached.run("tunnel", "--stop").stdout
    assert reached.json("tunnel", "--list")["tunnels"] == []


def test_a_port_that_is_lost_to_another_program_at_the_last_moment(
    ssh: FakeSsh, mlflow: int, command_line: CommandLine
) -> None:
    ssh.then(
        "bind [127.0.0.1]:PORT: Address already in use", "channel_setup_fwd_listener_tcpip: cannot listen", code=255
    )
    ssh.then(leads_to=mlflow)
    command_line.known("prod")
    assert command_line.json("tunnel", "prod", "--background")["tunnel"]["state"] == "up"
    first, second = (next(word for word in start if word.startswith("127.0.0.1:")) for start in ssh.starts)
    assert first != second


def test_no_secret_is_in_what_the_tunnel_leaves(reached: CommandLine, ssh: FakeSsh, tmp_path: Path) -> None:
    pid = reached.json("tunnel", "prod", "--background")["tunnel"]["pid"]
    assert PASSWORD not in Path(f"/proc/{pid}/cmdline").read_text() + str(ssh.starts)
    for file in (tmp_path / "state").rglob("*"):
        if file.is_file():
            assert PASSWORD not in file.read_text()
    assert (tmp_path / "state" / "tunnels").stat().st_mode & 0o077 == 0


def answers(port: int) -> bool:
    """A socket that was connected once says no to the next try, so each has its own."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's PR_SET_PDEATHSIG is Linux's")
def test_ssh_dies_with_a_killed_supervisor(reached: CommandLine) -> None:
    tunnel = reached.json("tunnel", "prod", "--background")["tunnel"]
    os.kill(tunnel["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 5
    while answers(tunnel["port"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert reached.json("tunnel", "--list")["tunnels"] == []
    assert reached.json("tunnel", "prod", "--background")["tunnel"]["pid"] != tunnel["pid"]


def test_what_ended_it_is_told_to_who_started_it(ssh: FakeSsh, command_line: CommandLine) -> None:
    ssh.then("ubuntu@box: Permission denied (publickey).", code=255)
    command_line.known("prod")
    answer = command_line.run("tunnel", "prod", "--background")
    assert answer.exit_code == ExitCode.UNREACHABLE and "does not let us in" in answer.stderr
    answer = command_line.run("run", "prod", "--", "true")
    assert answer.exit_code == ExitCode.UNREACHABLE and "ssh -v ubuntu@box" in answer.stderr


def test_without_ssh_it_says_what_to_install(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    command_line.known("prod")
    monkeypatch.setenv("PATH", "/nonexistent")
    for words in (["tunnel", "prod"], ["tunnel", "prod", "--background"], ["open", "prod"]):
        answer = command_line.run(*words)
        assert answer.exit_code == ExitCode.FAILED and "no ssh program" in answer.stderr
        assert "install OpenSSH's client" in answer.stderr


def test_a_local_deployment_needs_none(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    command_line.known("local", "local")
    answer = command_line.run("tunnel", "local")
    assert answer.exit_code == 0 and "needs no tunnel: http://127.0.0.1:5000" in answer.stdout
    assert command_line.run("run", "local", "--", "sh", "-c", "exit 9").exit_code == 9
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(variable, raising=False)
    assert "http://127.0.0.1:5000" in command_line.run("open", "local").stdout
    with mlflow_provision.connect("local") as uri:
        assert uri == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    "words",
    [
        ["tunnel", "--list", "prod"],
        ["tunnel", "--all"],
        ["tunnel", "--stop", "--background"],
        ["tunnel", "prod", "--stop", "--all"],
        ["tunnel", "prod", "--local-port", "80"],
        ["run", "prod", "python"],
        ["run", "prod", "--"],
        ["run", "one", "two", "--", "true"],
    ],
)
def test_nonsense_is_refused(command_line: CommandLine, words: list[str]) -> None:
    command_line.known("prod")
    assert command_line.run(*words).exit_code == ExitCode.USAGE


def test_connect_sets_and_puts_back(reached: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "before")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "corp")
    before = dict(os.environ)
    with mlflow_provision.connect("prod") as way:
        assert os.environ["MLFLOW_TRACKING_URI"] == str(way) == way.uri and isinstance(way, str)
        assert os.environ["MLFLOW_TRACKING_PASSWORD"] == PASSWORD and PASSWORD not in repr(way)
        assert os.environ["NO_PROXY"] == "corp,127.0.0.1,localhost"
    assert dict(os.environ) == before
    with pytest.raises(ProvisionError, match="there is no deployment"):
        mlflow_provision.connect("nosuch")


def test_importing_us_is_cheap() -> None:
    program = "import sys, mlflow_provision; print(len([m for m in sys.modules if m.startswith('mlflow_provision')]))"
    repository = str(Path(mlflow_provision.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": repository}
    )
    assert found.stdout == "1\n"


def test_a_lock_and_not_a_pid_says_what_runs(command_line: CommandLine) -> None:
    claimed = registry.claim_tunnel("prod")
    assert (
        claimed
        and registry.is_running("prod")
        and registry.claim(registry.folder() / "prod.lock", fcntl.LOCK_EX) is None
    )
    claimed.release()
    assert not registry.is_running("prod") and registry.all_running() == []


def test_a_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(40_000)))
    trim(log)
    lines = log.read_text().splitlines()
    assert lines[-1] == "line 39999" and all(line.startswith("line ") for line in lines)
    assert log.stat().st_size <= 64 * 1024


@pytest.mark.parametrize(
    ("host", "argv"),
    [
        ("box", ["--", "box"]),
        ("ubuntu@box", ["-l", "ubuntu", "--", "box"]),
        ("ubuntu@box:2222", ["-l", "ubuntu", "-p", "2222", "--", "box"]),
        ("ssh://ubuntu@box:2222", ["-l", "ubuntu", "-p", "2222", "--", "box"]),
        ("ubuntu@[::5]:22", ["-l", "ubuntu", "-p", "22", "--", "::5"]),
        ("ubuntu@fd00::7", ["-l", "ubuntu", "--", "fd00::7"]),
    ],
)
def test_hosts_as_ssh_takes_them(host: str, argv: list[str]) -> None:
    assert destination(host) == argv


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("ubuntu@box", "http://box:7"),
        ("ssh://ubuntu@box:2222", "http://box:7"),
        ("ubuntu@[fd00::7]:22", "http://[fd00::7]:7"),
        ("ubuntu@fd00::7", "http://[fd00::7]:7"),
    ],
)
def test_the_url_of_a_server_for_others(host: str, url: str) -> None:
    assert direct_url(Deployment("prod", host, mlflow=MLflow(listen="0.0.0.0", port=7))) == url


@pytest.mark.parametrize(
    ("listen", "end"), [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7"), ("0.0.0.0", "127.0.0.1:7")]
)
def test_the_other_end(listen: str, end: str) -> None:
    assert remote_end(Deployment("prod", "box", mlflow=MLflow(listen=listen, port=7))) == end


def test_quoting_for_fish_and_powershell(command_line: CommandLine) -> None:
    command_line.known("local", "local", password=NASTY)
    fish = command_line.run("env", "local", "--format", "fish").stdout.splitlines()[2]
    inner = NASTY.replace("\\", "\\\\").replace("'", "\\'")
    assert fish == f"set -gx MLFLOW_TRACKING_PASSWORD '{inner}'"
    powershell = command_line.run("env", "local", "--format", "powershell").stdout.splitlines()[2]
    doubled = NASTY.replace("'", "''")
    assert powershell == f"$Env:MLFLOW_TRACKING_PASSWORD = '{doubled}'"


@pytest.mark.parametrize(
    ("style", "shell"),
    [
        ("shell", ["bash", "-c"]),
        ("shell", ["zsh", "-c"]),
        ("fish", ["fish", "-c"]),
        ("powershell", ["pwsh", "-NoProfile", "-Command"]),
    ],
)
def test_the_shell_itself_reads_it_back(command_line: CommandLine, style: str, shell: list[str]) -> None:
    if not shutil.which(shell[0]):
        pytest.skip(f"{shell[0]} is not installed")
    command_line.known("local", "local", password=NASTY)
    said = command_line.run("env", "local", "--format", style).stdout
    program = f"{sys.executable} -c 'import os, json; print(json.dumps(os.environ[\"MLFLOW_TRACKING_PASSWORD\"]))'"
    read = subprocess.run([*shell, said + "\n" + program], capture_output=True, text=True, check=True)
    assert json.loads(read.stdout) == NASTY
