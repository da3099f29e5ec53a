"""The copy of the agent on the host: what runs without an operator is what was sent last."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_provision.agent.resources import installed_agent
from mlflow_provision.agent.resources.installed_agent import InstalledAgent, program
from mlflow_provision.host.program import pack
from tests.agent.converge import found, mend


def test_it_is_installed_updated_and_closed_again(tmp_path: Path) -> None:
    agent = InstalledAgent("agent", str(tmp_path / "agent.zip"))
    assert mend(agent) == "install"
    assert (tmp_path / "agent.zip").read_bytes() == program()
    (tmp_path / "agent.zip").write_bytes(b"of an older release")
    assert mend(agent) == "update"
    (tmp_path / "agent.zip").chmod(0o666)
    assert mend(agent) == "mode 0666 → 0644"
    assert [path.name for path in tmp_path.iterdir()] == ["agent.zip"]


def test_a_link_in_its_place_is_replaced_and_what_it_points_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(program())
    (tmp_path / "agent.zip").symlink_to(tmp_path / "other")
    assert mend(InstalledAgent("agent", str(tmp_path / "agent.zip"))) == "install"
    assert not (tmp_path / "agent.zip").is_symlink()


def test_python_runs_it_and_it_needs_nothing_else(tmp_path: Path) -> None:
    mend(InstalledAgent("agent", str(tmp_path / "agent.zip")))
    job = str(tmp_path / "no such job")
    argv = [sys.executable, "-BEsSu", str(tmp_path / "agent.zip"), job]
    done = subprocess.run(argv, cwd="/", env={}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("failed: the job cannot be read: ")


_FROM_THE_ZIP = """
import os, sys
file = os.memfd_create("agent")
os.write(file, sys.stdin.buffer.read())
sys.path = [f"/proc/self/fd/{file}", *(folder for folder in sys.path if "site-packages" not in folder and folder)]
from mlflow_provision.agent.resources.installed_agent import program
assert sys.modules["mlflow_provision.agent"].__file__.startswith("/proc/")
sys.stdout.buffer.write(program())
"""


def test_a_program_sent_to_a_host_installs_the_same_bytes_as_one_that_runs_from_its_folder() -> None:
    argv = [sys.executable, "-BEsS", "-c", _FROM_THE_ZIP]
    done = subprocess.run(argv, input=pack(), cwd="/", capture_output=True, timeout=60)
    assert done.stderr == b""
    assert done.stdout == program()


def test_another_program_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = InstalledAgent("agent", str(tmp_path / "agent.zip"))
    mend(agent)
    modules = {**installed_agent._modules(), "mlflow_provision/agent/new.py": b""}
    monkeypatch.setattr(installed_agent, "_modules", lambda: modules)
    program.cache_clear()
    try:
        assert found(agent) == "update"
    finally:
        monkeypatch.undo()
        program.cache_clear()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_it_belongs_to_root(tmp_path: Path) -> None:
    agent = InstalledAgent("agent", str(tmp_path / "agent.zip"), "root", "root")
    mend(agent)
    os.chown(agent.path, 65534, 65534)
    assert "owner" in mend(agent)
