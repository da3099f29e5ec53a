"""A server without systemd: started, watched, restarted when its files change, ended with all it started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_provision.agent import process_group
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources import background_process as module
from mlflow_provision.agent.resources.absent import ProcessAbsent
from mlflow_provision.agent.running import health
from tests.agent.converge import found, gone, mend
from tests.agent.health_page import HealthPage
from tests.agent.tiny_server import TinyServer


def never() -> bool:
    return False


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyServer]:
    tiny = TinyServer(tmp_path / "server")
    (tiny.folder / "stubborn").touch()  # its grandchild does not listen to SIGTERM
    monkeypatch.setattr(process_group, "STOP_SECONDS", 0.3)
    yield tiny
    process_group.end(tiny.resource.pid_file)


def grandchild(server: TinyServer) -> int:
    """The pid of what the server's child has started, once."""
    said = server.folder / "grandchild"
    deadline = time.monotonic() + 5
    while not said.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    pid = int(said.read_text())
    said.unlink()
    return pid


def test_it_is_started_and_says_how_it_is(server: TinyServer) -> None:
    assert found(server.resource) == "start"
    assert server.resource.status()["running"] is False
    mend(server.resource)
    status = server.resource.status()
    assert (status["running"], status["healthy"], status["problem"]) == (True, True, "")
    assert 0 <= status["seconds"] < 30
    assert status["memory"] > 1 << 20
    grandchild(server)
    assert len(server.resource.pids()) == 3


def test_starting_what_runs_changes_nothing(server: TinyServer) -> None:
    pid = server.resource.start(never)["pid"]
    assert server.resource.start(never)["pid"] == pid
    assert server.resource.restart(never)["pid"] != pid


def test_somebody_else_at_its_port_does_not_pass_for_it(server: TinyServer) -> None:
    """It dies of the port that is taken, and this is told: the other one answers all the while."""
    with HealthPage(server.port) as page, pytest.raises(AgentError, match="Address already in use"):
        assert health(page.url) == ""
        server.resource.start(never)
    assert server.resource.status()["running"] is False


def test_it_is_no_child_of_ours_and_keeps_running(server: TinyServer) -> None:
    server.resource.start(never)
    pid = server.resource.pids()[0]
    assert os.getsid(pid) != os.getsid(0)
    assert Path(f"/proc/{pid}/fd/0").resolve() == Path("/dev/null")


def test_stopping_ends_all_it_started(server: TinyServer) -> None:
    server.resource.start(never)
    stubborn = grandchild(server)
    started = time.monotonic()
    status = server.resource.stop(never)
    assert time.monotonic() - started < 3
    assert (status["running"], status["healthy"], status["pid"]) == (False, False, 0)
    assert gone(stubborn, 0.1)
    assert not Path(server.resource.pid_file).exists()
    assert server.resource.stop(never)["running"] is False


def test_what_destroy_ends(server: TinyServer) -> None:
    absent = ProcessAbsent("service", server.resource.pid_file)
    assert found(absent) == ""
    server.resource.start(never)
    stubborn = grandchild(server)
    assert mend(absent) == "stop"
    assert gone(stubborn, 0.1)


def test_when_its_leader_was_killed_the_rest_is_ended_before_a_new_start(server: TinyServer) -> None:
    """kill -9 of MLflow's main process leaves its workers on the port."""
    pid = server.resource.start(never)["pid"]
    left = grandchild(server)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert server.resource.status()["running"] is False
    assert mend(server.resource) == "start"
    assert gone(left, 0.1)


def test_what_a_killed_leader_left_is_ended_by_start_by_stop_and_by_destroy(server: TinyServer) -> None:
    for end in (
        lambda: server.resource.start(never),
        lambda: server.resource.stop(never),
        lambda: ProcessAbsent("service", server.resource.pid_file).apply(Context()),
    ):
        pid = server.resource.start(never)["pid"]
        left = grandchild(server)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert found(ProcessAbsent("service", server.resource.pid_file)) == "stop"
        end()
        assert gone(left, 0.1)
        server.resource.stop(never)


def test_a_changed_file_asks_for_a_restart_and_its_old_content_takes_that_back(server: TinyServer) -> None:
    mend(server.resource)
    before = server.settings.read_text()
    server.settings.write_text("PORT=2\n")
    assert found(server.resource) == "restart (changed: server.env)"
    server.settings.write_text(before)
    assert found(server.resource) == ""
    server.script.write_text(server.script.read_text() + "# another\n")
    assert mend(server.resource) == "restart (changed: start.sh)"


def test_a_change_in_the_same_run_asks_for_a_restart(server: TinyServer) -> None:
    mend(server.resource)
    assert found(server.resource, "server.env") == "restart (changed: server.env)"
    assert found(server.resource, "tmp") == ""


def test_a_sick_server_is_restarted(server: TinyServer) -> None:
    mend(server.resource)
    (server.folder / "sick").touch()
    assert found(server.resource) == "restart (/health answers 503)"
    assert server.resource.status()["problem"] == "/health answers 503"
    assert server.resource.status()["healthy"] is False
    (server.folder / "sick").unlink()
    assert found(server.resource) == ""


def test_a_pid_that_belongs_to_another_process_by_now_is_left_alone(server: TinyServer) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1, start_new_session=True
    ) as it:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        Path(server.resource.pid_file).write_text(f"{it.pid} 12345 {boot}\n")
        assert found(server.resource) == "start"
        server.resource.stop(never)
        assert it.poll() is None
        assert it.stdin is not None
        it.stdin.close()


@pytest.mark.parametrize("content", ["", "x", "1", "x y z", "0 0 0", "-1 5 0", "99999999 5 0"])
def test_a_damaged_pid_file_is_none(server: TinyServer, content: str) -> None:
    Path(server.resource.pid_file).write_text(content)
    assert found(server.resource) == "start"
    server.resource.stop(never)
    assert not Path(server.resource.pid_file).exists()


def test_a_crash_at_the_start_says_why_within_seconds(server: TinyServer) -> None:
    server.write_script(f"{sys.executable} -c 'raise ValueError(\"the reason\")'; exit 0")
    Path(server.resource.log).write_text("ValueError: of yesterday\n")
    started = time.monotonic()
    with pytest.raises(AgentError) as caught:
        server.resource.apply(Context())
    assert time.monotonic() - started < 5
    assert caught.value.kind == "crashed"
    assert caught.value.message == "the server started and died:\nValueError: the reason"
    assert caught.value.hint == f"read more: less {server.resource.log}"
    assert found(server.resource) == "start"


def test_a_crash_without_a_word_says_so(server: TinyServer) -> None:
    server.write_script("exit 1")
    with pytest.raises(AgentError, match="it printed nothing"):
        server.resource.start(never)


def test_a_slow_start_is_waited_for_and_can_be_interrupted(server: TinyServer) -> None:
    server.write_script(f"sleep 1; exec {server.serve}")
    asked = time.monotonic() + 0.3
    with pytest.raises(AgentError) as caught:
        server.resource.start(lambda: time.monotonic() > asked)
    assert (caught.value.kind, caught.value.hint) == ("interrupted", "run the same command again")
    assert server.resource.start(never)["healthy"] is True


def test_the_log_is_for_its_owner_and_set_aside_when_it_is_long(
    server: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOG_LIMIT", 1000)
    server.resource.start(never)
    log = Path(server.resource.log)
    assert log.stat().st_mode & 0o777 == 0o600
    assert re.match(r"--- start \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\nserving\n", log.read_text())
    server.resource.restart(never)
    assert log.read_text().count("--- start") == 2
    log.write_text("x" * 1001)
    server.resource.restart(never)
    assert log.read_text().count("--- start") == 1
    assert (log.parent / "server.log.1").read_text() == "x" * 1001


def test_none_of_our_secrets_is_in_its_environment(server: TinyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_PROVISION_ADMIN_PASSWORD", "CANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "CANARY")
    pid = server.resource.start(never)["pid"]
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"CANARY" not in environment
    assert b"PATH=" in environment


def test_without_a_script_it_says_how_to_set_up(server: TinyServer) -> None:
    server.script.unlink()
    assert server.resource.status()["problem"] == "not set up on this host"
    with pytest.raises(AgentError, match="there is no") as caught:
        server.resource.start(never)
    assert "setup" in caught.value.hint
