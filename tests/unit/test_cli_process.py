"""The command line as a process of its own: what it imports, what it writes where, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "rich",
    "fabric",
    "invoke",
    "paramiko",
    "boto3",
    "botocore",
    "questionary",
    "prompt_toolkit",
    "jinja2",
    "tomlkit",
)
PROGRAM = [sys.executable, "-m", "mlflow_provision"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL")}
    return {**kept, "HOME": str(tmp_path), "MLFLOW_PROVISION_CONFIG_DIR": str(tmp_path / "config")}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def imported(environment: dict[str, str], *arguments: str) -> set[str]:
    """The top-level modules that a command loads."""
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mlflow_provision", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in process.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["setup", "--help"], ["completion", "bash"], ["list"]]
)
def test_what_asks_no_host_imports_nothing_heavy(environment: dict[str, str], arguments: list[str]) -> None:
    assert not imported(environment, *arguments).intersection(HEAVY)


def test_help_imports_no_command(environment: dict[str, str]) -> None:
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mlflow_provision", "--help"],
        env=environment,
        capture_output=True,
        text=True,
    )
    ours = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines() if "mlflow_provision" in line}
    assert ours == {"mlflow_provision", "mlflow_provision.cli", "mlflow_provision.cli.group"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ver", {"verify"}),
        ("plan ", {"prod", "staging"}),
        ("setup l", {"local"}),
        ("setup --acc", {"--accept-new-host-key"}),
    ],
)
def test_completion_is_cheap_and_knows_the_deployments(
    environment: dict[str, str], words: str, expected: set[str]
) -> None:
    folder = Path(environment["MLFLOW_PROVISION_CONFIG_DIR"])
    folder.mkdir()
    (folder / "prod.toml").write_text("not even TOML")
    (folder / "staging.toml").write_text("")
    (folder / "prod.secrets.toml").write_text("")
    typed = "mlflow-provision " + words
    asked = {
        **environment,
        "_MLFLOW_PROVISION_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split(" ")) - 1),
    }
    assert {line.partition(",")[2] for line in run(asked).stdout.splitlines()} == expected
    assert not imported(asked).intersection(HEAVY)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        (["list"], 0),
        (["nonsense"], 2),
        (["setup"], 2),
        (["setup", "--nonsense"], 2),
        (["status"], 2),
        (["plan", "nobody"], 2),
    ],
)
def test_exit_codes(environment: dict[str, str], arguments: list[str], code: int) -> None:
    process = run(environment, *arguments)
    assert process.returncode == code, process.stderr
    assert "Traceback" not in process.stderr
    assert bool(process.stderr) is (code != 0)


def test_json_is_all_of_stdout(environment: dict[str, str]) -> None:
    process = run(environment, "list", "--json")
    assert json.loads(process.stdout)["deployments"] == [] and process.stderr == ""
    process = run(environment, "plan", "nobody", "--json")
    assert process.returncode == 2
    assert json.loads(process.stdout)["error"]["code"] == 2 and process.stderr.startswith("Error: ")


def test_a_pipe_gets_no_colours(environment: dict[str, str]) -> None:
    for arguments in (["list"], ["--help"], ["plan", "nobody"]):
        process = run(environment, *arguments)
        assert "\x1b" not in process.stdout + process.stderr


def test_a_reader_who_leaves_is_no_error(environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "completion", "bash"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait(timeout=60)


def test_a_locale_without_unicode(environment: dict[str, str]) -> None:
    process = run({**environment, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}, "plan", "ä→b")
    assert process.returncode == 2 and process.stderr.startswith("Error: ")


def test_ctrl_c_before_anything_began(environment: dict[str, str]) -> None:
    code = "import os, signal; from mlflow_provision.cli import deployments, main\n"
    code += "deployments.chosen = None\nimport mlflow_provision.config as c\n"
    code += "c.names = lambda: os.kill(os.getpid(), signal.SIGINT)\nmain()"
    process = subprocess.run(
        [sys.executable, "-c", code, "list"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 128 + signal.SIGINT
    assert process.stderr.startswith("Error: interrupted") and "Traceback" not in process.stderr
