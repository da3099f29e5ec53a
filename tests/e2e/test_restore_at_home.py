"""A server in somebody's home on this machine, without root or systemd: backed up, and put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlflow_provision.agent.http import Client
from tests.e2e import teamwork
from tests.e2e.at_home import at_home
from tests.e2e.operator import Operator

NAME = "mine"


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with at_home(tmp_path_factory.mktemp("person"), NAME) as operator:
        yield operator


def test_back_to_a_backup_and_back_again(person: Operator) -> None:
    """To where it was when it was backed up; then, with the safety backup, to where it was before the restore."""
    owner = teamwork.at_home(person, NAME)
    work = teamwork.make(owner)
    before = teamwork.seen(owner, work)
    made = person.json("backup", "now", NAME, "--to", str(person.home / "backups"))["backup"]
    assert made["verified"]["level"] == "full" and made["rows"]["basic_auth.db"]["users"] == 3
    later = teamwork.create_run(owner, work.experiment, "later")
    late = teamwork.artifact(work.experiment, later, "late")
    assert owner.call("PUT", late, body=b"late").status == 200

    document = person.json("restore", made["id"], NAME, "--yes")
    assert document["compared"]["newer"]["runs"] == 1
    assert teamwork.seen(owner, work) == before
    assert run(owner, later) == 404

    person.run("restore", document["restore"]["safety"], NAME, "--yes")
    assert run(owner, later) == 200
    assert teamwork.seen(owner, work) == before
    assert owner.call("GET", late).body == b"late"
    assert person.json("status", NAME)["status"]["healthy"] is True


def run(owner: Client, id: str) -> int:
    return owner.call("GET", "/api/2.0/mlflow/runs/get", query={"run_id": id}).status
