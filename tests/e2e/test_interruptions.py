"""Killed, cut off, interrupted, doubled: running the same command again mends it."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.operator import Operator, on
from tests.lab import LabHost

NAME = "server"
AGENT = "import sys, os, json"  # how the agent's bootstrap begins, as `pgrep -f` sees it


@pytest.fixture
def operator(host: LabHost, tmp_path: Path) -> Operator:
    return Operator(tmp_path, host.ssh_config)


@pytest.fixture
def blank(host: LabHost, operator: Operator) -> Iterator[LabHost]:
    """The host as it was, after each test; the installer's cache stays warm."""
    yield host
    host.network.restore()
    operator.run("destroy", NAME, "--delete-data", "--yes", code=None)


def test_killed_after_every_single_resource(blank: LabHost, operator: Operator) -> None:
    """Each run is killed once it has changed one thing more; the last one finds nothing left to do but to verify."""
    kills = 0
    while _killed_after_first_change(blank, operator):
        kills += 1
        assert kills < 40
    assert kills >= 15
    answer = operator.json("setup", on(blank), "--yes")
    assert answer["ok"] is True
    assert operator.json("verify", NAME)["ok"] is True
    litter = blank.run(["find", "/opt/mlflow", "/etc/systemd", "-name", "*.mlflow-provision-new"]).stdout
    assert litter == ""


def test_the_link_is_cut_while_packages_are_installed(blank: LabHost, operator: Operator) -> None:
    setup = operator.start("setup", on(blank), "--yes")
    _wait_for(blank, "/opt/mlflow/releases")
    blank.network.cut()
    out, err = setup.communicate(timeout=90)
    assert setup.returncode == 3, out + err
    assert "run the same command again" in (out + err).lower()
    blank.network.restore()
    _until_no_agent(blank)
    assert operator.json("setup", on(blank), "--yes")["ok"] is True


def test_ctrl_c_stops_after_the_step_and_says_what_to_do(blank: LabHost, operator: Operator) -> None:
    setup = operator.start("setup", on(blank), "--yes")
    _wait_for(blank, "/opt/mlflow/releases")
    setup.send_signal(signal.SIGINT)
    out, err = setup.communicate(timeout=60)
    assert setup.returncode == 130, out + err
    assert "Traceback" not in out + err
    assert not blank.path("/etc/systemd/system/mlflow-server.service").exists()
    assert operator.json("setup", on(blank), "--yes")["ok"] is True


def test_two_operators_at_once(blank: LabHost, operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = Operator(tmp_path / "second", blank.ssh_config)
    setup = operator.start("setup", on(blank), "--yes")
    _wait_for(blank, "/opt/mlflow/releases")
    refused = second.run("setup", on(blank), "--yes", code=5)
    assert "setup" in refused.stderr
    assert "wait" in refused.stderr
    out, err = setup.communicate(timeout=120)
    assert setup.returncode == 0, out + err


def _killed_after_first_change(host: LabHost, operator: Operator) -> bool:
    """Run a setup and kill its agent when the next resource has been changed; False when there was nothing to change.

    What has changed is read from outside, so the blow falls shortly after a resource, sometimes into the next one."""
    before = _changes_left(host, operator)
    if before == 0:
        return False
    setup = operator.start("setup", on(host), "--yes")
    stop = threading.Event()

    def kill_at_next_change() -> None:
        assert setup.stdout is not None
        for line in setup.stdout:
            if line.startswith("changed "):
                host.run(["pkill", "-9", "-f", AGENT], check=False)
                stop.set()
                return

    watcher = threading.Thread(target=kill_at_next_change, daemon=True)
    watcher.start()
    setup.wait(timeout=120)
    watcher.join(timeout=10)
    if setup.stdout:
        setup.stdout.close()
    if setup.stderr:
        setup.stderr.close()
    _until_no_agent(host)
    return stop.is_set()


def _changes_left(host: LabHost, operator: Operator) -> int:
    answer = json.loads(operator.run("setup", on(host), "--dry-run", "--json").stdout)
    return int(answer["changes"])


def _wait_for(host: LabHost, path: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not host.path(path).exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def _until_no_agent(host: LabHost, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while host.run(["pgrep", "-f", AGENT], check=False).stdout:
        assert time.monotonic() < deadline, "the agent never ended"
        time.sleep(0.1)
