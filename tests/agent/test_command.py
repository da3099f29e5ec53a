"""Programs the agent starts: an argument list, a known environment, their output as it comes, an end when asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlflow_provision.agent.command import CommandFailed, capture, run
from mlflow_provision.agent.protocol import AgentError
from tests.agent.converge import gone
from tests.agent.fake_programs import FakePrograms


def test_arguments_are_never_seen_by_a_shell() -> None:
    arguments = ["$(id)", "`id`", "; id", "a b", "'", '"', "*", "\n", "$HOME", ""]
    code = "import sys; print(sys.argv[1:])"
    assert run([sys.executable, "-c", code, *arguments]) == [str(arguments)]


def test_both_streams_come_back_in_order_and_line_by_line() -> None:
    seen: list[str] = []
    script = "echo one; echo two >&2; printf 'three\\r\\n'; printf 'no end'"
    assert run(["/bin/sh", "-c", script], output=seen.append) == ["one", "two", "three", "no end"]
    assert seen == ["one", "two", "three"]


def test_lines_are_shown_while_the_program_runs() -> None:
    moments: list[float] = []
    started = time.monotonic()
    run(["/bin/sh", "-c", "echo now; sleep 3"], output=lambda line: moments.append(time.monotonic() - started))
    assert moments[0] < 2.5 < time.monotonic() - started


def test_bytes_that_are_no_text_are_no_crash() -> None:
    assert run(["/bin/sh", "-c", r"printf '\377\n'"]) == ["\ufffd"]


def test_nothing_of_our_own_environment_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_CANARY", "x")
    monkeypatch.setenv("LC_ALL", "tlh")
    environment = dict(line.split("=", 1) for line in run(["/usr/bin/env"], env={"A": "b c"}))
    assert environment == {"PATH": environment["PATH"], "LC_ALL": "C.UTF-8", "A": "b c"}


def test_what_it_reads_is_what_it_is_given_and_then_the_end() -> None:
    assert run(["cat"], stdin="a secret\n") == ["a secret"]
    assert run(["cat"]) == []


def test_a_program_that_does_not_read_is_no_crash() -> None:
    assert run(["true"], stdin="x" * 10_000_000) == []


def test_a_failure_carries_the_end_of_what_was_printed() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["/bin/sh", "-c", "for n in $(seq 100); do echo line $n; done; exit 7"])
    assert caught.value.code == 7
    assert len(caught.value.lines) == 100
    assert caught.value.message.startswith("`/bin/sh -c for")
    assert "exit code 7" in caught.value.message
    assert caught.value.message.splitlines()[1:] == [f"line {number}" for number in range(86, 101)]


def test_a_failure_names_the_program_and_not_all_its_arguments() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["false", "a", "b", "CANARY"])
    assert "CANARY" not in caught.value.message


def test_a_missing_program_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run(["no-such-program"])


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"], ids=["obedient", "stubborn"])
def test_stopping_ends_it_and_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str) -> None:
    if trap:
        wait = subprocess.Popen.wait  # without the patience for a real uv
        monkeypatch.setattr(subprocess.Popen, "wait", lambda self, timeout=None: wait(self, timeout and 0.3))
    pid_file = tmp_path / "pid"
    script = f"{trap} sh -c '{trap} echo $$ > {pid_file}; sleep 60; sleep 60' & sleep 60; sleep 60"
    started = time.monotonic()
    with pytest.raises(AgentError) as caught:
        run(["/bin/sh", "-c", script], stopping=lambda: pid_file.exists() and bool(pid_file.read_text()))
    assert caught.value.kind == "interrupted"
    assert time.monotonic() - started < 5
    assert gone(int(pid_file.read_text()))


def test_a_program_in_the_background_does_not_get_our_control_c() -> None:
    [group] = run([sys.executable, "-c", "import os; print(os.getpgid(0))"])
    assert int(group) != os.getpgid(0)


def test_capture_is_what_a_quick_program_prints(programs: FakePrograms) -> None:
    programs.add("quick", "echo $1; echo noise >&2")
    assert capture(["quick", "a b"]) == "a b\n"


@pytest.mark.parametrize("body", ["echo half; exit 1", "echo half; sleep 30"])
def test_capture_of_a_failure_is_empty(programs: FakePrograms, body: str) -> None:
    programs.add("broken", body)
    assert capture(["broken"], timeout=0.2) == ""


def test_capture_of_what_is_not_there_is_empty() -> None:
    assert capture(["no-such-program"]) == ""
