"""A program that is started long before it gets its stdin."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from mlflow_provision.agent import command
from mlflow_provision.agent.protocol import AgentError

_PROGRAM = """
import os, sys
print("imported")
open(sys.argv[1], "w").write(str(os.getpid()))
print("READY", flush=True)
said = sys.stdin.read()
print("got", said)
sys.exit(3 if said == "bad" else 0)
"""


def argv(tmp_path: Path, program: str = _PROGRAM) -> list[str]:
    return [sys.executable, "-c", program, str(tmp_path / "pid")]


def test_it_goes_on_when_it_gets_its_stdin(tmp_path: Path) -> None:
    with command.waiting(argv(tmp_path), {}) as go:
        assert (tmp_path / "pid").exists()
        assert go("hello") == ["got hello"]


def test_one_that_gets_nothing_is_ended(tmp_path: Path) -> None:
    with command.waiting(argv(tmp_path), {}):
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_fails_says_what_it_printed(tmp_path: Path) -> None:
    with command.waiting(argv(tmp_path), {}) as go, pytest.raises(command.CommandFailed, match="got bad") as raised:
        go("bad")
    assert raised.value.code == 3


def test_one_that_never_gets_ready_is_an_error_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(command.CommandFailed, match="no such module"),
        command.waiting(argv(tmp_path, "import sys; sys.exit('no such module')"), {}),
    ):
        pytest.fail("it is not ready")


def test_the_wait_ends_when_somebody_asks(tmp_path: Path) -> None:
    started = time.monotonic()
    with (
        pytest.raises(AgentError, match="stopped while python") as raised,
        command.waiting(argv(tmp_path, "import time; time.sleep(60)"), {}, lambda: time.monotonic() > started + 0.5),
    ):
        pytest.fail("it is not ready")
    assert raised.value.kind == "interrupted"
    assert time.monotonic() - started < 20
