"""What a timer starts: the same work, in words of the journal, and out of the way of whoever changes the host."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent import collection
from mlflow_provision.agent.backup import state
from mlflow_provision.agent.collection import scheduled
from mlflow_provision.agent.lock import held
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Context
from mlflow_provision.agent.resources.installed_agent import InstalledAgent
from tests.agent.collecting_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "root")
    site.experiment(1)
    return site


def started(site: Site, serve: Any = collection.serve) -> int:
    job = {"does": "gc", "settings": site.settings()}
    return scheduled.carried_out(job, serve, lambda: False)


def test_what_is_old_enough_goes_and_what_stays_is_told(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run("a", deleted_days=40)
    used = site.run("b", deleted_days=40)
    site.write("1/" + "c" * 32 + "/artifacts")
    site.registered(f"runs:/{used}/model")
    assert started(site) == scheduled.DONE
    told = capsys.readouterr().out
    assert "Removed from server: 1 run, 2 files of 20 B" in told and f"kept: run {used}" in told
    assert len(site.there()) == 2, "orphans are for people to decide"
    assert state.last(str(site.base / "gc"))["collected"]["runs"] == 1


def test_nothing_to_do_is_no_failure(site: Site) -> None:
    assert started(site) == scheduled.DONE


def test_a_failure_shows_in_the_exit_code_and_is_noted(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run("a", deleted_days=40)
    site.trouble(_="die")
    assert started(site) == scheduled.NOT_DONE
    assert "failed: MLflow's own code could not open" in capsys.readouterr().err
    assert "could not open" in state.last(str(site.base / "gc"))["failed"]["message"]


def test_a_mistake_of_ours_is_a_failure(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    assert started(site, broken) == scheduled.NOT_DONE and "ZeroDivisionError" in capsys.readouterr().err


def test_not_while_somebody_changes_the_host(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    run = site.run("a", deleted_days=40)
    with held(site.settings()["host_lock"], "ada@laptop", "upgrade server"):
        assert started(site) == scheduled.DONE
    assert "skipped: ada@laptop is running `upgrade server`" in capsys.readouterr().out
    assert site.ids("runs") == [run]


def test_somebody_who_comes_meanwhile_goes_first(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def serve(data: Any, operator: str, emit: Any, stopping: Any) -> dict[str, Any]:
        assert not stopping()
        with held(data["settings"]["host_lock"], "ada@laptop", "upgrade server"):
            assert stopping()
        assert stopping(), "what has begun to stop does not go on"
        raise AgentError("stopped on request", kind="interrupted")

    assert started(site, serve) == scheduled.DONE
    assert "stopped: ada@laptop is running `upgrade server`" in capsys.readouterr().out


def test_what_a_killed_command_left_in_the_lock_holds_nobody_up(site: Site) -> None:
    site.run("a", deleted_days=40)
    left = {"operator": "ada@laptop", "what": "setup", "since": 0}
    Path(site.settings()["host_lock"]).write_text(json.dumps(left))
    assert started(site) == scheduled.DONE and site.ids("runs") == []


def test_the_installed_program_does_it(site: Site, tmp_path: Path) -> None:
    site.run("a", deleted_days=40)
    program, job = tmp_path / "agent.zip", tmp_path / "gc.json"
    InstalledAgent("agent", str(program)).apply(Context())
    job.write_text(json.dumps({"does": "gc", "settings": site.settings()}))
    argv = [sys.executable, "-BEsSu", str(program), str(job)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Removed from server: 1 run" in done.stdout and site.ids("runs") == []


def test_killed_at_any_moment_the_next_run_goes_on(site: Site, tmp_path: Path) -> None:
    for number in range(40):
        id = f"{number:032d}"
        site.sql(
            "INSERT INTO runs VALUES (?, 'r', ?, 'deleted', 1, 1, 1, 1)", id, f"mlflow-artifacts:/1/{id}/artifacts"
        )
        site.write(f"1/{id}/artifacts", 5)
    program, job = tmp_path / "agent.zip", tmp_path / "gc.json"
    InstalledAgent("agent", str(program)).apply(Context())
    job.write_text(json.dumps({"does": "gc", "settings": site.settings()}))
    argv = [sys.executable, "-BEsSu", str(program), str(job)]
    for seconds in (0.25, 0.3, 0.35):
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        left = {f"1/{id}" for id in site.ids("runs")}
        assert set(site.there()) <= left, "no artifact without its row"
    assert subprocess.run(argv, timeout=60, check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert site.ids("runs") == [] and site.there() == []
