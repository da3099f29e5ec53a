"""A backup in the place of what a real server has now; killed in the middle, and with a host that is switched off."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_provision.agent.http import Client
from tests.e2e.backed_up import BASE, BackedUp, beside
from tests.e2e.served import NAME, Served
from tests.e2e.waiting import AGENT, until
from tests.lab import RcloneS3

UNIT = f"mlflow-{NAME}"


@pytest.fixture(scope="module")
def backed_up(set_up_once: Served, rclone_s3: RcloneS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    yield beside(set_up_once, rclone_s3, tmp_path_factory.mktemp("home") / "operator")


def experiments(backed_up: BackedUp, folder: Path) -> set[str]:
    """As they are on the disk."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in backed_up.host.path(f"{BASE}/data").glob("mlflow.db*"):
        shutil.copy(path, folder / path.name)
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM experiments WHERE lifecycle_stage = 'active'")}


def make_experiment(backed_up: BackedUp, name: str) -> None:
    served = Served(backed_up.host, backed_up.operator)
    client = Client(f"http://127.0.0.1:{served.opened()['port']}", "admin", served.password)
    assert client.call("POST", "/api/2.0/mlflow/experiments/create", data={"name": name}).status == 200
    backed_up.operator.run("tunnel", "--stop", NAME)


def active(backed_up: BackedUp) -> str:
    return backed_up.host.run(["systemctl", "is-active", UNIT], check=False).stdout.strip()


def test_what_was_backed_up_is_there_again_and_the_way_back_too(backed_up: BackedUp, tmp_path: Path) -> None:
    place = backed_up.to("restored")
    make_experiment(backed_up, "before")
    then = experiments(backed_up, tmp_path / "then")  # those of other tests on this host, too
    made = backed_up.back_up(*place)
    make_experiment(backed_up, "after")
    document = backed_up.operator.json("restore", made["id"], NAME, "--from", *place, "--yes")
    answer = document["restore"]
    assert "before" in then
    assert experiments(backed_up, tmp_path / "restored") == then
    assert active(backed_up) == "active"
    assert document["compared"]["newer"]["experiments"] == 1
    data = backed_up.host.path(f"{BASE}/data")
    owners = {path.stat().st_uid for path in data.rglob("*")}
    assert len(owners) == 1
    assert 0 not in owners
    assert not (data / ".restore").exists()
    backed_up.operator.run("restore", answer["safety"], NAME, "--from", *place, "--yes")
    assert experiments(backed_up, tmp_path / "now") == then | {"after"}
    backed_up.operator.run("verify", NAME)


@pytest.mark.parametrize("phase", ["stopping", "switching", "starting"])
def test_killed_in_the_middle_and_run_again(backed_up: BackedUp, tmp_path: Path, phase: str) -> None:
    place = backed_up.to(f"killed-{phase}")
    name = f"only-before-{phase}"
    make_experiment(backed_up, name)
    made = backed_up.back_up(*place)
    make_experiment(backed_up, f"{name}-after")
    process = backed_up.operator.start("restore", made["id"], NAME, "--from", *place, "--yes")
    journal = backed_up.host.path(f"{BASE}/backup/restore.json")

    def comes() -> str:
        return phase if _phase(journal) == phase else "over" if process.poll() is not None else ""

    if until(comes, pause=0.001) == "over":
        assert phase != "starting", process.communicate()
        pytest.skip(f"{phase} was over too soon to be met")
    for pid in backed_up.host.run(["pgrep", "-f", AGENT], check=False).stdout.split():
        backed_up.host.run(["kill", "-9", pid], check=False)
    process.communicate(timeout=60)
    backed_up.operator.run("restore", made["id"], NAME, "--from", *place, "--yes")
    assert name in experiments(backed_up, tmp_path / "again")
    assert f"{name}-after" not in experiments(backed_up, tmp_path / "again")
    assert active(backed_up) == "active"
    assert not journal.exists()
    assert not backed_up.host.path(f"{BASE}/backup/restoring").exists()


def _phase(journal: Path) -> str:
    try:
        return str(json.loads(journal.read_text())["phase"])
    except (OSError, ValueError):
        return ""


def test_a_server_does_not_start_while_its_databases_are_away(backed_up: BackedUp) -> None:
    guard = backed_up.host.path(f"{BASE}/backup/restoring")
    guard.write_text("")
    try:
        refused = backed_up.operator.run("restart", NAME, code=1)
        assert f"mlflow-provision restore {NAME}" in refused.stdout + refused.stderr
    finally:
        guard.unlink()
    backed_up.operator.run("start", NAME)
    assert active(backed_up) == "active"
