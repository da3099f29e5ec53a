"""Killed, cut off, interrupted, doubled: running the same command again mends it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_provision import provision
from mlflow_provision.agent.protocol import CHANGED, OK, Done, Result
from mlflow_provision.config import Backup, Deployment, Gc, Secrets
from mlflow_provision.host import connect
from tests.e2e.operator import Operator, on
from tests.e2e.waiting import AGENT, until, until_no_agent
from tests.lab import LabHost

NAME = "server"


@pytest.fixture
def operator(blank: LabHost, tmp_path: Path) -> Operator:
    return Operator(tmp_path, blank.ssh_config)


@pytest.fixture
def blank() -> Iterator[LabHost]:
    """A host of its own for each test: what one leaves half-done must not help the next."""
    with LabHost() as host:
        yield host
        host.network.restore()


def test_killed_after_every_single_resource(blank: LabHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed right after the first resource, run again and killed right after the second, and so on: every run finds
    all that was made before, changes exactly one thing more, and in the end nothing is left to do."""
    monkeypatch.setenv("MLFLOW_PROVISION_SSH_CONFIG", str(blank.ssh_config))
    deployment = Deployment(NAME, on(blank), backup=Backup("/var/backups/mlflow"), gc=Gc("weekly"))
    host = connect(deployment)
    prepared = provision.prepare(host, deployment, Secrets(admin_password="correct-horse-battery"))
    for number, resource in enumerate(prepared.resources, 1):
        some = prepared.resources[:number]
        events = list(provision.apply_resources(host, some, deployment, prepared.facts, "setup"))
        changed = [event.step for event in events if isinstance(event, Result) and event.verdict == CHANGED]
        assert changed == [resource.id]
        blank.run(["pkill", "-9", "-f", AGENT], check=False)
    last = list(provision.plan(host, prepared.resources))[-1]
    assert isinstance(last, Done)
    assert last.data["changes"] == 0
    checks = [event for event in provision.verify(host, prepared) if isinstance(event, Result)]
    assert {check.verdict for check in checks} == {OK}
    host.close()


def test_killed_in_the_middle_of_things(blank: LabHost, operator: Operator) -> None:
    """The blow falls a moment after something has changed, wherever the next steps are by then; again and again."""
    kills = 0
    while _killed_after_first_change(blank, operator):
        kills += 1
        assert kills < 40
    assert kills >= 6
    assert operator.json("verify", NAME)["ok"] is True
    litter = blank.run(["find", "/opt/mlflow", "/etc/systemd", "-name", "*.mlflow-provision-new"]).stdout
    assert litter == ""


def test_the_link_is_cut_while_packages_are_installed(blank: LabHost, operator: Operator) -> None:
    setup = operator.start("setup", on(blank), "--yes")
    until(blank.path("/opt/mlflow/releases").exists)
    blank.network.cut()
    out, err = setup.communicate(timeout=90)
    assert setup.returncode == 3, out + err
    assert "run the same command again" in (out + err).lower()
    blank.network.restore()
    until_no_agent(blank)
    assert operator.json("setup", on(blank), "--yes")["ok"] is True


def test_stopped_at_its_very_first_start(blank: LabHost, operator: Operator) -> None:
    """The server's databases are complete before it starts: stopped in the middle of making them itself, half a schema
    would be left, and MLflow could never start again."""
    setup = operator.start("setup", on(blank), "--yes")
    begun = "until test -e /run/mlflow-server/started-with; do sleep 0.05; done; sleep 4"
    blank.run(["timeout", "120", "sh", "-c", begun])
    blank.run(["systemctl", "stop", "mlflow-server.service"])
    setup.communicate(timeout=60)
    schema = "SELECT * FROM alembic_version"
    tables = f"import sqlite3; print(*sqlite3.connect('/opt/mlflow/server/data/mlflow.db').execute('{schema}'))"
    first = blank.run(["python3", "-c", tables]).stdout
    assert operator.json("setup", NAME, "--yes")["ok"] is True
    assert blank.run(["python3", "-c", tables]).stdout == first != ""


def test_ctrl_c_stops_after_the_step_and_says_what_to_do(blank: LabHost, operator: Operator) -> None:
    setup = operator.start("setup", on(blank), "--yes")
    until(blank.path("/opt/mlflow/releases").exists)
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
    until(blank.path("/opt/mlflow/releases").exists)
    refused = second.run("setup", on(blank), "--yes", code=5)
    assert "setup" in refused.stderr
    assert "wait" in refused.stderr
    out, err = setup.communicate(timeout=120)
    assert setup.returncode == 0, out + err


def _killed_after_first_change(host: LabHost, operator: Operator) -> bool:
    """Run a setup and kill its agent once it has changed something; False when it had nothing to change."""
    setup = operator.start("setup", on(host), "--yes")
    assert setup.stdout is not None
    killed = False
    said = []
    for line in setup.stdout:
        said.append(line)
        if line.startswith("changed ") and not killed:
            host.run(["pkill", "-9", "-f", AGENT], check=False)
            killed = True
    _, err = setup.communicate(timeout=120)
    until_no_agent(host)
    assert killed or setup.returncode == 0, "".join(said) + err
    return killed
