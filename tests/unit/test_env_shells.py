"""`env` for every shell: what the shell understands is what we meant, whatever the password is made of."""

from __future__ import annotations

import json
import random
import shutil
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_provision.config import password_problem
from tests.unit.conftest import CommandLine

PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
NASTY = [
    """it's $(not) `run` "ever"!""",
    r"\\ back\slash\n \' \" \0 end\\",
    "'''''''''''''",
    "$HOME ${HOME} %PATH% $Env:HOME",
    "-n --help; rm * ? [a] {b,c} ~ | & < > #1",
    "``$$''\"\"!!\\\\^^@@",
    "".join(random.Random(5).sample(PRINTABLE.strip(), len(PRINTABLE.strip()))),
]
SHOW = "import os; print(os.environ['MLFLOW_TRACKING_PASSWORD'])"
POSIX = 'eval "$(cat "$1")"; "$2" -c "$3"'


@pytest.fixture(params=NASTY, ids=range(len(NASTY)))
def password(request: pytest.FixtureRequest, command_line: CommandLine) -> str:
    chosen: str = request.param
    assert password_problem(chosen) is None
    command_line.known("prod", "local", password=chosen)
    return chosen


def lines(command_line: CommandLine, style: str) -> list[str]:
    result = command_line.run("env", "--format", style)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def understood(shell: list[str], script: Path) -> str:
    """What a program started by a real shell sees, after the shell has read our lines."""
    if not shutil.which(shell[0]):
        pytest.skip(f"{shell[0]} is not installed")
    words = [*shell, "sh", str(script), sys.executable, SHOW] if "-c" in shell[1:] else [*shell, str(script)]
    finished = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.removesuffix("\n")


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "ksh"])
def test_posix_shells(command_line: CommandLine, password: str, shell: str, tmp_path: Path) -> None:
    script = tmp_path / "lines"
    script.write_text("\n".join(lines(command_line, "shell")) + "\n")
    assert understood([shell, "-c", POSIX], script) == password


def test_bash_at_a_terminal_where_exclamation_marks_mean_history(
    command_line: CommandLine, password: str, tmp_path: Path
) -> None:
    script = tmp_path / "lines"
    script.write_text("\n".join(lines(command_line, "shell")) + "\n")
    assert understood(["bash", "-H", "-c", POSIX], script) == password


@pytest.mark.parametrize(
    ("style", "shell", "name"),
    [("fish", ["fish"], "lines.fish"), ("powershell", ["pwsh", "-NoProfile", "-File"], "lines.ps1")],
)
def test_other_shells(
    command_line: CommandLine, password: str, style: str, shell: list[str], name: str, tmp_path: Path
) -> None:
    script = tmp_path / name
    call = {"fish": "{} -c {}", "powershell": "& {} -c {}"}[style].format(sys.executable, f'"{SHOW}"')
    script.write_text("\n".join([*lines(command_line, style), call]) + "\n")
    assert understood(shell, script) == password


def fish(line: str) -> tuple[str, str]:
    """By fish's documentation: in single quotes a backslash escapes a single quote and itself, and is itself else."""
    assert line.startswith("set -gx ")
    name, _, quoted = line.removeprefix("set -gx ").partition(" ")
    return name, _single_quoted(quoted, escape="\\")


def powershell(line: str) -> tuple[str, str]:
    """By about_Quoting_Rules: a single-quoted string is verbatim, and two single quotes in it stand for one."""
    assert line.startswith("$Env:")
    name, _, quoted = line.removeprefix("$Env:").partition(" = ")
    return name, _single_quoted(quoted, escape="'")


def dotenv(line: str) -> tuple[str, str]:
    """By python-dotenv: bare, or in single quotes with the escapes of the quote and the backslash."""
    name, _, value = line.partition("=")
    return name, _single_quoted(value, escape="\\") if value.startswith("'") else value


def _single_quoted(text: str, escape: str) -> str:
    """The value of the one single-quoted string that the whole text is."""
    assert text[0] == text[-1] == "'" and len(text) > 1
    found, rest = "", text[1:]
    while rest != "'":
        if rest[0] == escape and rest[1] in ("'", escape):
            assert rest != escape + "'", "the quote that ends it is escaped"
            rest = rest[1:]
        else:
            assert rest[0] != "'", f"it ends before its end: {rest}"
        found, rest = found + rest[0], rest[1:]
    return found


@pytest.mark.parametrize(("style", "read"), [("fish", fish), ("powershell", powershell), ("dotenv", dotenv)])
def test_by_the_rules_of_each(
    command_line: CommandLine, password: str, style: str, read: Callable[[str], tuple[str, str]]
) -> None:
    assert dict(map(read, lines(command_line, style))) == {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": password,
    }


def test_json(command_line: CommandLine, password: str) -> None:
    (line,) = lines(command_line, "json")
    assert json.loads(line)["MLFLOW_TRACKING_PASSWORD"] == password
