"""Requests to an agent on this machine: the way there and back is the same as over SSH."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.protocol import Done, Event, Output, Result, Start, encode
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import LocalHost, answer, local
from mlflow_provision.host.local import clean_environment
from mlflow_provision.host.program import NOT_LINUX, OLD_PYTHON, READY
from mlflow_provision.host.refusals import AgentCrash

FAKE_AGENT = Path(__file__).parent / "fake_agent"


@pytest.fixture
def host() -> LocalHost:
    return LocalHost("user", agent=FAKE_AGENT)


def failure(host: LocalHost, verb: str, data: dict[str, Any] | None = None) -> ProvisionError:
    with pytest.raises(ProvisionError) as caught:
        answer(host, verb, data or {})
    return caught.value


def test_an_answer(host: LocalHost) -> None:
    data = {"text": "naïve\n'quoted' \"text\" $(true)", "none": None, "list": [1, 2.5, True]}
    assert answer(host, "echo", data) == data


def test_events_come_in_order_as_they_happen(host: LocalHost) -> None:
    began = time.monotonic()
    seen = [(type(event), time.monotonic() - began) for event in host.request("steps", {"steps": 2, "seconds": 0.3})]
    assert [kind for kind, _ in seen] == [Start, Result, Start, Result, Done]
    assert seen[0][1] < seen[1][1] - 0.2 < seen[3][1] - 0.5


def test_one_host_serves_many_requests(host: LocalHost) -> None:
    assert [answer(host, "echo", {"n": n})["n"] for n in range(3)] == [0, 1, 2]


def test_much_in_both_directions_blocks_nobody(host: LocalHost) -> None:
    events = list(host.request("flood", {"lines": 3000, "stderr": 1_000_000, "blob": "x" * 4_000_000}))
    assert sum(isinstance(event, Output) for event in events) == 3000
    assert events[-1] == Done({"received": 4_000_000})


def test_what_is_no_event_is_passed_over(host: LocalHost) -> None:
    assert list(host.request("noise", {})) == [Done({})]


def test_nothing_of_the_session_leaks(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/some/venv")
    monkeypatch.setenv("PATH", f"/some/venv/bin{os.pathsep}{os.environ['PATH']}")
    for name in ("PYTHONPATH", "PYTHONHOME", "AWS_SECRET_ACCESS_KEY", "MLFLOW_PROVISION_ADMIN_PASSWORD", "LD_PRELOAD"):
        monkeypatch.setenv(name, "/canary")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    inside = answer(host, "where", {"password": "canary-in-the-request"})
    assert "canary" not in str(inside)
    assert "/some/venv" not in str(inside)
    assert inside["environment"]["HTTPS_PROXY"] == "http://proxy:3128"
    assert inside["environment"]["LC_ALL"] == "C"
    assert inside["folder"] == "/"
    assert inside["session"], "Ctrl-C would hit the agent"
    assert "" not in inside["path"]
    assert not any("site-packages" in folder for folder in inside["path"])


def test_an_environment_without_a_path_gets_one() -> None:
    assert clean_environment({})["PATH"]


def test_interrupt_ends_it_after_the_current_step(host: LocalHost) -> None:
    seen: list[Event] = []
    with pytest.raises(ProvisionError) as caught:
        for event in host.request("steps", {"steps": 100, "seconds": 0.2}):
            seen.append(event)
            if isinstance(event, Result):
                host.interrupt()
    assert caught.value.code == ExitCode.INTERRUPTED
    assert 1 <= sum(isinstance(event, Result) for event in seen) <= 3
    assert isinstance(seen[-1], Done)


def test_interrupt_in_a_signal_handler(host: LocalHost) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: host.interrupt())
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        began = time.monotonic()
        assert failure(host, "steps", {"steps": 100, "seconds": 0.1}).code == ExitCode.INTERRUPTED
        assert time.monotonic() - began < 2
    finally:
        signal.signal(signal.SIGALRM, before)


def test_interrupt_without_a_request_does_nothing(host: LocalHost) -> None:
    host.interrupt()
    assert answer(host, "echo", {}) == {}


def test_a_request_nobody_reads_any_more_is_stopped(host: LocalHost, tmp_path: Path) -> None:
    events = host.request("steps", {"steps": 100, "seconds": 0.05, "pid_file": str(tmp_path / "pid")})
    next(events)
    pid = int((tmp_path / "pid").read_text())
    events.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the agent still runs"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("locked", ExitCode.LOCKED), ("interrupted", ExitCode.INTERRUPTED), ("anything", ExitCode.FAILED)],
)
def test_a_failure_the_agent_reports(host: LocalHost, kind: str, code: ExitCode) -> None:
    error = failure(host, "fail", {"kind": kind})
    assert (error.message, error.hint, error.code) == ("it failed", "do that", code)


def test_a_crash_keeps_its_traceback_for_debugging(host: LocalHost) -> None:
    error = failure(host, "crash")
    assert isinstance(error, AgentCrash)
    assert error.message == "our program on this machine failed during “the fatal step”: RuntimeError: it broke"
    assert "--debug" in error.hint
    assert "Traceback" in error.detail
    assert "main.py" in error.detail


def test_an_agent_that_was_killed(host: LocalHost) -> None:
    error = failure(host, "killed")
    assert error.message == "our program on this machine was killed during “the fatal step”"
    assert "run the same command again" in error.hint


def test_an_agent_that_ends_without_a_word(host: LocalHost) -> None:
    assert "exit status 0" in failure(host, "silent").message


def test_a_python_that_lacks_a_module(host: LocalHost) -> None:
    error = failure(host, "incomplete")
    assert "no module 'sqlite3'" in error.message
    assert "apt-get install -y python3" in error.hint


@pytest.mark.parametrize(
    ("kind", "found", "message"),
    [
        (OLD_PYTHON, "3.8.18 linux", "python3 on this machine is 3.8.18; 3.9 or newer is needed"),
        (NOT_LINUX, "3.12.1 darwin", "this machine does not run Linux, but darwin"),
    ],
)
def test_what_the_bootstrap_refuses(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch, kind: str, found: str, message: str
) -> None:
    line = encode(Done({}, {"message": found, "hint": "", "kind": kind}))
    monkeypatch.setattr(local, "BOOTSTRAP", f"print('{READY}'); print({line!r})")
    assert failure(host, "echo").message == message


def test_no_python_at_all(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "no python3" in failure(host, "echo").message
