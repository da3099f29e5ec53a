"""A unit: what asks for a restart and what does not, and that a start which fails says why at once."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shlex
import threading
import time
from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.systemd_service import SystemdService
from tests.agent.converge import found, mend
from tests.agent.fake_systemd import FakeSystemd

UNIT = "mlflow-server.service"


def never() -> bool:
    return False


def failure(service: SystemdService) -> AgentError:
    """How a start fails; it must say so within seconds."""
    patience = time.monotonic() + 4
    with pytest.raises(AgentError) as caught:
        service.restart(lambda: time.monotonic() > patience)
    assert caught.value.kind == "crashed"
    return caught.value


def test_a_server_that_runs_well_is_left_alone(systemd: FakeSystemd) -> None:
    assert found(systemd.resource) == ""
    assert found(systemd.resource, "root", "tmp") == ""
    assert systemd.calls == []


def test_a_new_unit_is_enabled_and_started(systemd: FakeSystemd) -> None:
    systemd.become(ActiveState="inactive", SubState="dead", UnitFileState="disabled")
    (systemd.folder / "healthy").unlink()
    assert mend(systemd.resource) == "enable, start"
    assert (systemd.state["UnitFileState"], systemd.state["ActiveState"]) == ("enabled", "active")
    assert systemd.calls[0] == "daemon-reload"


@pytest.mark.parametrize("state", ["inactive", "failed", "activating", "deactivating"])
def test_what_does_not_run_is_started(systemd: FakeSystemd, state: str) -> None:
    systemd.become(ActiveState=state)
    assert mend(systemd.resource) == "start"


def test_without_systemd_everything_would_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    service = SystemdService("service", UNIT, "http://127.0.0.1:1", "", (), ())
    assert found(service) == "enable, start"
    assert service.status()["problem"] == "not set up on this host"


@pytest.mark.parametrize(
    ("changed", "summary"),
    [
        (("server.env",), "restart (changed: server.env)"),
        (("data", "unit", "server.env"), "restart (changed: server.env, unit)"),
        (("data",), ""),
    ],
)
def test_a_change_in_the_same_run_asks_for_a_restart(
    systemd: FakeSystemd, changed: tuple[str, ...], summary: str
) -> None:
    assert found(systemd.resource, *changed) == summary


def test_a_file_that_is_not_what_it_was_started_with_asks_for_a_restart(systemd: FakeSystemd, tmp_path: Path) -> None:
    watched = tmp_path / "basic_auth.ini"
    watched.write_text("one")
    service = dataclasses.replace(systemd.resource, watched=(str(watched),))
    systemd.folder.joinpath("started-with").write_text(f"{hashlib.sha256(b'one').hexdigest()}  {watched}\n")
    assert found(service) == ""
    watched.write_text("two")
    assert found(service) == "restart (changed: basic_auth.ini)"


def test_a_sick_server_is_restarted(systemd: FakeSystemd) -> None:
    (systemd.folder / "healthy").unlink()
    assert mend(systemd.resource) == "restart (/health answers 503)"


@pytest.mark.parametrize(
    ("state", "summary", "calls"),
    [
        ({"UnitFileState": "disabled"}, "enable", ["daemon-reload", f"enable --quiet {UNIT}"]),
        ({"NeedDaemonReload": "yes"}, "reload the unit file", ["daemon-reload", f"enable --quiet {UNIT}"]),
    ],
)
def test_what_needs_no_restart_gets_none(
    systemd: FakeSystemd, state: dict[str, str], summary: str, calls: list[str]
) -> None:
    systemd.become(**state)
    assert mend(systemd.resource) == summary
    assert systemd.calls == calls


def test_the_old_server_is_gone_before_a_new_one_is_believed(systemd: FakeSystemd) -> None:
    systemd.on("stop", "echo stopped >> history")
    systemd.on("start", "echo started >> history; (sleep 0.4; echo answers >> history; touch healthy) &")
    # What `systemctl restart` would do: the old one answers for a while yet.
    systemd.on("restart", "(sleep 0.3; rm -f healthy; sleep 0.3; echo answers >> history; touch healthy) &")
    history = systemd.folder / "history"
    for act in (lambda: systemd.resource.restart(never), lambda: systemd.resource.apply(Context({"server.env"}))):
        history.write_text("")
        act()
        assert history.read_text().split() == ["stopped", "started", "answers"]


def test_a_slow_start_is_waited_for(systemd: FakeSystemd) -> None:
    systemd.on("start", "(sleep 1.2; touch healthy) &")
    started = time.monotonic()
    assert systemd.resource.restart(never)["healthy"] is True
    assert 1 < time.monotonic() - started < 4


def test_stopping_while_it_starts_leaves_it_to_systemd(systemd: FakeSystemd) -> None:
    systemd.on("start", "true")
    asked = time.monotonic() + 0.3
    with pytest.raises(AgentError) as caught:
        systemd.resource.restart(lambda: time.monotonic() > asked)
    assert (caught.value.kind, caught.value.hint) == ("interrupted", "run the same command again")
    assert systemd.calls[-1] == f"--no-block start {UNIT}"


CRASH = "Traceback (most recent call last):", '  File "x.py", line 1, in <module>', "ValueError: the reason"


@pytest.mark.parametrize(
    "state",
    [
        "become ActiveState failed; become SubState failed",
        "become ActiveState activating; become SubState auto-restart",
        "become ActiveState active; become NRestarts 1",
    ],
    ids=["failed", "waits for its next attempt", "is in its next attempt"],
)
def test_a_start_that_crashes_says_why_within_seconds(systemd: FakeSystemd, state: str) -> None:
    systemd.log(*CRASH)
    systemd.on("start", f"(sleep 0.3; {state}) &")
    error = failure(systemd.resource)
    assert error.message == "the server started and died:\nValueError: the reason"
    assert error.hint == f"read more: sudo journalctl -u {UNIT} -n 200"


def test_a_start_that_somebody_stops_is_noticed_at_once(systemd: FakeSystemd) -> None:
    systemd.on("start", "(sleep 0.3; become ActiveState inactive; become SubState dead) &")
    assert "stopped while it was starting" in failure(systemd.resource).message


def test_a_start_that_waits_its_turn_is_waited_for(systemd: FakeSystemd) -> None:
    waiting = "become ActiveState inactive; become Job 4711"
    systemd.on("start", f"(sleep 0.1; {waiting}; sleep 1; become ActiveState active; touch healthy) &")
    systemd.become(Job="")
    assert systemd.resource.restart(never)["healthy"] is True


def test_crashes_of_yesterday_are_no_crash_of_today(systemd: FakeSystemd) -> None:
    systemd.log(*CRASH)
    systemd.become(NRestarts="12", ActiveState="failed")
    systemd.on("start", "(sleep 0.8; touch healthy) &")
    mend(systemd.resource)
    assert f"reset-failed {UNIT}" in systemd.calls


def test_workers_that_die_again_and_again_are_noticed_though_the_unit_looks_well(systemd: FakeSystemd) -> None:
    crashes = (Path(__file__).with_name("crashes") / "respawning.txt").read_text().splitlines()
    systemd.log(*crashes)
    systemd.on("start", "true")
    assert "the second worker died of this" in failure(systemd.resource).message


def test_one_worker_that_died_is_not_the_end(systemd: FakeSystemd) -> None:
    systemd.log("INFO:     Child process [303] died", "INFO:     Waiting for child process [303]")
    systemd.on("start", "(sleep 1; touch healthy) &")
    assert systemd.resource.restart(never)["healthy"] is True


def test_a_crash_without_a_word_says_so(systemd: FakeSystemd) -> None:
    systemd.on("start", "(sleep 0.2; become ActiveState failed) &")
    assert "it printed nothing" in failure(systemd.resource).message


def test_the_next_attempt_that_has_said_nothing_yet_does_not_hide_why_the_last_one_died(systemd: FakeSystemd) -> None:
    of_systemd = f"{UNIT}: Main process exited, code=exited, status=1/FAILURE"
    earlier = shlex.quote("\n".join([*CRASH, of_systemd]))
    script = f'case "$*" in *--since=-7s*|*--since=-8s*) echo "{of_systemd}" ;; *) printf "%s\\n" {earlier} ;; esac'
    systemd.programs.add("journalctl", script)
    (systemd.folder / "healthy").unlink()
    systemd.become(NRestarts="7", ActiveEnterTimestampMonotonic=str(int((time.monotonic() - 2) * 1e6)))
    assert systemd.resource.status()["problem"].startswith("ValueError: the reason")


def test_the_journal_is_read_from_this_start_on(systemd: FakeSystemd) -> None:
    systemd.log("something")
    systemd.become(ActiveState="failed", ActiveEnterTimestampMonotonic=str(int((time.monotonic() - 100) * 1e6)))
    systemd.resource.status()
    [asked] = [call for call in systemd.programs.calls if call.startswith("journalctl")]
    assert f"--unit {UNIT}" in asked
    assert asked.endswith(("--since=-105s", "--since=-104s", "--since=-106s"))


def test_status_of_a_server_that_runs_well(systemd: FakeSystemd) -> None:
    status = systemd.resource.status()
    assert 3599 < status.pop("seconds") < 3700
    assert status == {
        "running": True,
        "healthy": True,
        "enabled": True,
        "pid": 4711,
        "memory": 0,
        "restarts": 0,
        "problem": "",
    }


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"LoadState": "not-found", "ActiveState": "inactive"}, "not set up on this host"),
        ({"ActiveState": "inactive"}, ""),
        ({"ActiveState": "failed"}, "ValueError: the reason"),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, "ValueError: the reason"),
    ],
)
def test_status_of_one_that_does_not(systemd: FakeSystemd, state: dict[str, str], problem: str) -> None:
    systemd.log(*CRASH)
    systemd.become(**state)
    status = systemd.resource.status()
    assert (status["running"], status["healthy"], status["problem"]) == (False, False, problem)


def test_status_tells_why_between_two_crashes(systemd: FakeSystemd) -> None:
    systemd.log(*CRASH)
    (systemd.folder / "healthy").unlink()
    assert systemd.resource.status()["problem"] == "/health answers 503"
    systemd.become(NRestarts="7", ActiveEnterTimestampMonotonic=str(int((time.monotonic() - 2) * 1e6)))
    assert systemd.resource.status()["problem"] == "ValueError: the reason"


def test_the_processes_of_a_unit_are_those_of_its_control_group(systemd: FakeSystemd) -> None:
    own = Path("/proc/self/cgroup").read_text().splitlines()[-1].split(":", 2)[2]
    mounts = [f"/sys/fs/cgroup{part}{own}/cgroup.procs" for part in ("", "/systemd", "/unified")]
    if not any(map(os.path.exists, mounts)):
        pytest.skip("this machine does not show control groups")
    (systemd.folder / "group").write_text(own)
    assert os.getpid() in systemd.resource.pids()
    assert systemd.resource.status()["memory"] > 1 << 20


def test_start_leaves_what_runs_alone_and_starts_what_does_not(systemd: FakeSystemd) -> None:
    systemd.resource.start(never)
    assert systemd.calls == []
    systemd.resource.stop(never)
    assert systemd.state["ActiveState"] == "inactive"
    assert systemd.resource.start(never)["healthy"] is True


def test_start_waits_for_a_server_that_is_just_starting(systemd: FakeSystemd) -> None:
    systemd.become(ActiveEnterTimestampMonotonic=str(int(time.monotonic() * 1e6)))
    (systemd.folder / "healthy").unlink()
    systemd.on("start", "true")
    threading.Timer(0.5, (systemd.folder / "healthy").touch).start()
    assert systemd.resource.start(never)["healthy"] is True
    assert f"stop {UNIT}" not in systemd.calls


def test_start_of_one_that_hangs_starts_it_anew(systemd: FakeSystemd) -> None:
    (systemd.folder / "healthy").unlink()
    assert systemd.resource.start(never)["healthy"] is True
    assert f"stop {UNIT}" in systemd.calls


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_what_was_never_set_up_says_how(systemd: FakeSystemd, verb: str) -> None:
    systemd.become(LoadState="not-found", ActiveState="inactive", UnitFileState="")
    with pytest.raises(AgentError, match=f"there is no {UNIT}") as caught:
        getattr(systemd.resource, verb)(never)
    assert "setup" in caught.value.hint
    assert systemd.calls == []
