"""A newcomer without root on a fresh machine: the README's first command, and life with a server in user scope."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.operator import REPOSITORY
from tests.lab import LabHost
from tests.lab.program import Finished

USER = "nosudo"
HOME = f"/home/{USER}"
CHECKOUT = f"{HOME}/mlflow-provision"
TOOL = f"{CHECKOUT}/.venv/bin/mlflow-provision"
SERVER = f"{HOME}/mlflow/local"


@pytest.fixture(scope="module")
def machine() -> Iterator[LabHost]:
    """A blank machine with a checkout; what `git clone` would bring is copied there."""
    with LabHost() as host:
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listing, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
        for name in filter(None, files.split("\0")):
            if (REPOSITORY / name).exists():
                copy = host.path(f"{CHECKOUT}/{name}")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / name, copy)
        host.run(["chown", "-R", f"{USER}:{USER}", CHECKOUT])
        yield host


@pytest.fixture(scope="module")
def first(machine: LabHost) -> str:
    """What the README's first command prints."""
    return _as_newcomer(machine, f"cd {CHECKOUT} && {_first_command()}").stdout


def test_the_first_command_of_the_readme_ends_in_a_verified_server(machine: LabHost, first: str) -> None:
    assert "is verified" in first
    assert "FAILED" not in first
    assert machine.path("/opt/mlflow").exists() is False
    owners = machine.run(["ps", "-C", "python", "-o", "user="]).stdout.split()
    assert set(owners) == {USER}


def test_its_three_lines_work_as_pasted(machine: LabHost, first: str) -> None:
    intro, *lines = first[first.index("Three lines") :].splitlines()[:4]
    python = intro.rpartition(" in ")[2].rstrip(":")
    pasted = "\n".join([*lines, "mlflow.end_run()", ""])
    _as_newcomer(machine, f"{python} -i <<'END'\n{pasted}END")
    count = "import mlflow; print(len(mlflow.search_runs(['0'], 'metrics.m = 1')))"
    said = _as_newcomer(machine, f'eval "$({TOOL} env local)" && {python} -c {shlex.quote(count)}').stdout
    assert said.splitlines()[-1] == "1"


def test_a_second_run_changes_nothing(machine: LabHost, first: str) -> None:
    assert "No changes" in _tool(machine, "setup local").stdout


def test_stop_start_restart_and_status(machine: LabHost, first: str) -> None:
    _tool(machine, "stop local")
    assert _status(machine, code=1)["running"] is False
    _tool(machine, "start local")
    before = _status(machine)
    _tool(machine, "restart local")
    after = _status(machine)
    assert before["healthy"] and after["healthy"] and before["pid"] != after["pid"]


def test_a_crash_is_seen_and_setup_mends_it(machine: LabHost, first: str) -> None:
    pid = _status(machine)["pid"]
    machine.run(["kill", "-9", "--", f"-{pid}"])
    assert _status(machine, code=1)["running"] is False
    plan = json.loads(_tool(machine, "plan local --json").stdout)
    assert [step["step"] for step in plan["steps"] if step["verdict"] == "changed"] == ["service", "record"]
    _tool(machine, "setup local --yes")
    assert _status(machine)["healthy"] is True


def test_a_taken_port_gives_way_to_the_next_free_one(machine: LabHost, first: str) -> None:
    said = _tool(machine, "setup local --name second --yes").stdout
    assert "http://127.0.0.1:5001" in said
    assert "is verified" in said
    _tool(machine, "destroy second --delete-data --yes")
    assert _status(machine)["healthy"] is True


def test_destroy_leaves_nothing(machine: LabHost, first: str) -> None:
    _tool(machine, "destroy local --delete-data --yes")
    assert not machine.path(f"{HOME}/mlflow").exists()
    assert "No deployment yet" in _tool(machine, "list").stdout
    assert machine.run(["pgrep", "-u", USER, "-f", "mlflow server"], check=False).stdout == ""


def _first_command() -> str:
    """The README's first block of commands, behind the `git clone … && cd …`."""
    block = re.search(r"```\n(git clone .*?)\n```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert block is not None
    return block[1].split(" && ", 2)[2]


def _as_newcomer(host: LabHost, script: str, check: bool = True) -> Finished:
    """Run like a login of that user, whose only Python is the system's."""
    return host.run(["su", "-", USER, "-c", script], check=check, timeout=300)


def _tool(host: LabHost, arguments: str, check: bool = True) -> Finished:
    return _as_newcomer(host, f"{shlex.quote(TOOL)} {arguments}", check)


def _status(host: LabHost, code: int = 0) -> dict[str, Any]:
    done = _tool(host, "status local --json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    status: dict[str, Any] = json.loads(done.stdout)["status"]
    return status
