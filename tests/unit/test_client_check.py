"""`verify --client`, with a Python that is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import Result, encode
from mlflow_provision.client_check.check import check, environment
from mlflow_provision.client_check.environment import cached, folder, install, this_python
from mlflow_provision.errors import ExitCode, ProvisionError
from tests.unit.conftest import CommandLine

VARIABLES = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5001", "MLFLOW_TRACKING_PASSWORD": "CANARY-password"}


def python(folder: Path, *lines: str) -> Path:
    """A program that is started as a Python, and does this."""
    program = folder / "python"
    program.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    program.chmod(0o755)
    return program


def result(verdict: str) -> str:
    return f"echo '{encode(Result('train', 'trains', verdict, 0.1, 'as it'))}'"


DONE = """echo '{"event": "done"}'"""


def test_nothing_of_the_operator_is_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "GOOGLE_APPLICATION_CREDENTIALS", "SSH_AUTH_SOCK", "HTTP_PROXY"):
        monkeypatch.setenv(name, "CANARY")
    clean = environment(VARIABLES, "/empty")
    assert "CANARY" not in {value for name, value in clean.items() if name not in VARIABLES}
    assert clean["HOME"] == "/empty" and clean["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5001"


def test_its_home_is_empty_and_gone_afterwards(tmp_path: Path) -> None:
    program = python(tmp_path, f'ls -A "$HOME" > {tmp_path}/files; echo "$HOME" > {tmp_path}/home', DONE)
    assert list(check(program, VARIABLES)) == []
    assert (tmp_path / "files").read_text() == ""
    assert not Path((tmp_path / "home").read_text().strip()).exists()


def test_events_come_through(tmp_path: Path) -> None:
    (event,) = check(python(tmp_path, result("ok"), DONE), VARIABLES)
    assert isinstance(event, Result) and event.step == "train" and event.summary == "as it"


def test_an_end_before_the_end_is_an_error_without_the_password(tmp_path: Path) -> None:
    program = python(tmp_path, result("ok"), 'echo "no module for $MLFLOW_TRACKING_PASSWORD" >&2; exit 3')
    with pytest.raises(ProvisionError, match="ended with 3: no module for ") as caught:
        list(check(program, VARIABLES))
    assert "CANARY" not in caught.value.message


def test_without_a_client_it_is_offered_and_not_taken(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow_provision.client_check.environment.this_python", lambda version: None)
    command_line.known("local", "local")
    answer = command_line.run("verify", "local", "--client")
    assert answer.exit_code == ExitCode.USAGE
    assert "mlflow-provision verify local --client --yes" in answer.stderr and "3.17.2" in answer.stderr


@pytest.mark.usefixtures("person")
def test_a_person_may_say_no(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlflow_provision.client_check.environment.this_python", lambda version: None)
    command_line.known("local", "local")
    answer = command_line.run("verify", "local", "--client", answers="n\n")
    assert answer.exit_code == ExitCode.FAILED and "pip install mlflow==3.17.2" in answer.stderr


@pytest.mark.parametrize(("verdict", "code"), [("ok", ExitCode.DONE), ("failed", ExitCode.FAILED)])
def test_the_verdict_is_the_exit_code(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verdict: str, code: ExitCode
) -> None:
    program = python(tmp_path, result(verdict), DONE)
    monkeypatch.setattr("mlflow_provision.client_check.environment.this_python", lambda version: program)
    command_line.known("local", "local")
    answer = command_line.run("verify", "local", "--client")
    assert answer.exit_code == code, answer.output
    assert ("1 check of 1 failed: trains" in answer.stderr) is (verdict == "failed")
    assert [one["verdict"] for one in command_line.json("verify", "local", "--client")["verify"]] == [verdict]


def test_a_half_made_environment_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\necho "$@" >> "$HOME/called"\ncase "$FAIL" in "$1") echo no network; exit 2;; esac\n')
    uv.write_text(uv.read_text() + 'for last; do :; done\n[ "$1" = venv ] && mkdir -p "$last/bin"\nexit 0\n')
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FAIL", "pip")
    with pytest.raises(ProvisionError, match="no network"):
        install("3.17.2")
    assert cached("3.17.2") is None and this_python("0.0.1") is None
    (folder("3.17.2") / "rest").touch()
    monkeypatch.setenv("FAIL", "")
    assert install("3.17.2") == cached("3.17.2") == folder("3.17.2") / "bin" / "python"
    assert not (folder("3.17.2") / "rest").exists()
    assert "mlflow==3.17.2 scikit-learn matplotlib" in (tmp_path / "called").read_text()
