"""What a killed run leaves behind must not stand in the way of the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlflow_provision.agent.facts import facts
from mlflow_provision.agent.names import MARKER
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.file import File

REPOSITORY = Path(__file__).resolve().parents[2]


def _root_state(root: Path) -> str:
    request = {"root": str(root), "name": "x", "port": 5000, "unit": "", "release": "none", "index_url": ""}
    (root / "releases" / "none").mkdir(parents=True)
    (root / "releases" / "none" / "release.json").write_text("{}")
    state: str = facts(request)["root"]["state"]
    return state


@pytest.mark.parametrize("leftover", [".lock", f".{MARKER}.mlflow-provision-new"])
def test_a_root_without_its_marker_is_not_foreign_for_that(tmp_path: Path, leftover: str) -> None:
    from mlflow_provision.agent.facts import _root_state as state

    (tmp_path / leftover).touch()
    assert state(tmp_path) == "empty"
    (tmp_path / "thesis.tex").touch()
    assert state(tmp_path) == "foreign"


def test_the_marker_makes_a_root_ours(tmp_path: Path) -> None:
    File("marker", str(tmp_path / MARKER), "ours\n").apply(Context())
    assert _root_state(tmp_path) == "ours"


def test_a_program_dies_with_the_agent_that_started_it(tmp_path: Path) -> None:
    """Else it would go on writing while the next run does the same."""
    script = f"""
from mlflow_provision.agent import command
command.run(["sh", "-c", "echo $$ > {tmp_path}/pid; exec sleep 60"])
"""
    agent = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)
    pid = _when_written(tmp_path / "pid")
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    deadline = time.monotonic() + 10
    while _alive(pid):
        assert time.monotonic() < deadline, "it outlived the agent"
        time.sleep(0.02)


def _when_written(path: Path) -> int:
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
