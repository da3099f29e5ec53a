"""From older releases of MLflow to today's, with all that people made; and back, with what that costs and what not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_provision.agent.databases import schema
from mlflow_provision.config import DEFAULT_MLFLOW_VERSION as NEW
from tests.e2e.at_home import at_home
from tests.e2e.older import Aged, laid
from tests.e2e.operator import Operator
from tests.e2e.people import EXPERIMENT
from tests.lab import LabHost

RIGHTS = {
    "ada": {
        "read": 200,
        "write": 200,
        "read secret": 200,
        "write secret": 403,
        "read model": 200,
        "write model": 200,
        "make users": 403,
    },
    "grace": {
        "read": 200,
        "write": 403,
        "read secret": 403,
        "write secret": 403,
        "read model": 200,
        "write model": 403,
        "make users": 403,
    },
    "nobody": {"read": 401},
}
WRITTEN = ("/opt/mlflow/releases/", "/opt/mlflow/audit.jsonl", "/var/cache/")  # what a rehearsal may write


@pytest.fixture(scope="module")
def host(stocked_host: LabHost) -> LabHost:
    return stocked_host


@pytest.fixture(scope="module")
def operator(host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("home"), host.ssh_config)


@pytest.fixture(scope="module")
def two(host: LabHost, operator: Operator) -> Aged:
    return laid(host, operator, "two", "2.22.1", 5022).filled()


@pytest.fixture(scope="module")
def ten(host: LabHost, operator: Operator) -> Aged:
    return laid(host, operator, "ten", "3.10.1", 5010).filled()


@pytest.fixture(scope="module")
def person_at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aged]:
    """On this machine, without root or systemd."""
    with at_home(tmp_path_factory.mktemp("person"), "mine", "--mlflow-version", "3.12.0") as person:
        yield Aged(person, "mine", "3.12.0").filled()


def test_a_rehearsal_leaves_only_the_release(host: LabHost, two: Aged) -> None:
    """It works on this server's data, and whoever uses the server notices nothing."""
    pid, databases, since = two.pid(), two.databases(), host.now()
    rehearsal = two.operator.json("upgrade", two.name, "--dry-run")["rehearsal"]
    assert (two.pid(), two.databases()) == (pid, databases)
    assert two.runs() == two.version
    ours = (*WRITTEN, f"/opt/mlflow/{two.name}/backup/")
    assert [path for path in host.changed_files(since) if not path.startswith(ours)] == []
    assert list(two.path("backup").rglob("*.db*")) == []
    release = two.release(NEW)
    assert rehearsal["release"] == Path(release).name
    heads = {name: after for name, (_, after) in rehearsal["schema"].items()}
    assert all(schema.known(str(host.path(release)), name)[1] == {head} for name, head in heads.items())
    assert two.operator.json("upgrade", two.name, "--dry-run")["plan"]["look"]["target"]["installed"] is True


@pytest.mark.parametrize("old", ["two", "ten", "person_at_home"])
def test_everything_is_there_afterwards(old: str, request: pytest.FixtureRequest) -> None:
    """Runs, metrics, artifacts, models, users and what they may do: by the old client and by the new one."""
    aged: Aged = request.getfixturevalue(old)
    assert aged.before["rights"] == RIGHTS
    assert aged.before["admin"]["experiments"] == {EXPERIMENT: "mlflow-artifacts:/1"}
    assert len(aged.before["admin"]["runs"]) == 3 and len(aged.before["admin"]["artifacts"]) == 2
    pid = aged.pid()
    upgraded = aged.operator.json("upgrade", aged.name, "--yes")
    assert {check["verdict"] for check in upgraded["upgrade"]["checks"]} <= {"ok", "skipped"}  # at home: boot
    assert aged.runs() == NEW
    assert aged.pid() != pid
    assert aged.seen() == aged.before
    assert aged.seen(version=aged.version) == aged.before
    assert f'version = "{NEW}"' in aged.operator.toml(aged.name).read_text()
    server, databases = aged.pid(), aged.databases()
    again = aged.operator.json("upgrade", aged.name, "--yes")
    assert (again["changes"], again["plan"]["from"], again["plan"]["to"]) == (0, NEW, NEW)
    aged.operator.run("plan", aged.name, "--exit-code")
    assert aged.operator.json("setup", aged.name, "--yes")["changes"] == 0
    assert (aged.pid(), aged.databases()) == (server, databases)


def test_back_to_an_older_schema_and_forth_again(host: LabHost, ten: Aged) -> None:
    """What was made since the upgrade is told, and lost; with the backup that was made first it comes back."""
    person, name = ten.operator, ten.name
    if ten.runs() == ten.version:
        person.run("upgrade", name, "--yes")
    late = json.dumps({**ten.made, **ten.people("later", json.dumps(ten.made))})
    person.run("rotate", "password", name)

    databases = ten.databases()
    shown = person.json("rollback", name, "--dry-run")["rollback_to"]
    assert shown["keeps_data"] is False
    assert shown["lost"] == {"experiments": 0, "runs": 1, "models": 0, "traces": 0, "users": 1}
    person.refused("rollback", name, code=2)  # nobody to ask
    assert (ten.runs(), ten.databases()) == (NEW, databases)

    back = person.json("rollback", name, "--yes")["rollback"]
    assert (back["data"], back["lost"]) == ("old", shown["lost"])
    assert ten.runs() == ten.version
    assert f'version = "{ten.version}"' in person.toml(name).read_text()
    assert ten.seen() == ten.before  # with the password of today
    assert ten.people("late", late) == {"run": 404, "user": 401}
    with closing(sqlite3.connect(host.path(back["kept_aside"]) / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs WHERE name = 'late'").fetchone() == (1,)
    person.run("plan", name, "--exit-code")

    person.run("upgrade", name, "--yes")
    assert ten.seen() == ten.before
    place = back["backup_place"]
    person.run("restore", back["backup"], name, "--from", place, "--yes")
    assert ten.people("late", late) == {"run": 200, "user": 200}
    first = person.json("backup", "list", name, "--from", place)["backups"][-1]
    assert first["reason"] == f"before upgrading to {NEW}"
    person.run("restore", first["id"], name, "--from", place, "--yes")
    assert ten.runs() == NEW
    assert ten.people("late", late) == {"run": 404, "user": 401}
    assert ten.seen() == ten.before


@pytest.fixture(scope="module")
def neighbours(host: LabHost, operator: Operator) -> tuple[Aged, Aged]:
    """Two servers on one release, all of whose successors have its schema."""
    first, second = (laid(host, operator, f"n{number}", "3.17.0", 5017 + number) for number in range(2))
    first.made = {"experiments": ["0"]}
    return first, second


def test_what_is_no_upgrade_is_refused(host: LabHost, neighbours: tuple[Aged, Aged]) -> None:
    aged = neighbours[1]
    pid, databases, releases, runs = aged.pid(), aged.databases(), aged.releases(), aged.runs()
    assert "there is no MLflow 3.17.99" in aged.operator.refused("upgrade", aged.name, "--to", "3.17.99", "--yes")
    half = aged.operator.refused("upgrade", aged.name, "--to", "3.18.0", "--yes")
    assert "half published" in half and f"--to {NEW}" in half
    older = aged.operator.refused("upgrade", aged.name, "--to", "3.16.0", "--yes", code=2)
    assert f"rollback {aged.name}" in older
    aged.operator.refused("upgrade", aged.name, "--to", "newest", "--yes", code=2)
    aged.operator.refused("upgrade", aged.name, "--to", NEW, code=2)  # nobody to ask
    assert (aged.pid(), aged.databases(), aged.releases(), aged.runs()) == (pid, databases, releases, runs)


def test_back_within_a_schema_and_the_releases_that_stay(neighbours: tuple[Aged, Aged]) -> None:
    """Nothing is lost on a way back without a migration. A release goes when nobody runs on it or can go back to it."""
    first, second = neighbours
    person = first.operator
    assert "nothing to go back to" in person.refused("rollback", first.name, "--yes")
    person.run("upgrade", first.name, "--to", "3.17.1", "--yes")
    later = person.json("upgrade", first.name, "--yes", "--keep", "2")["upgrade"]
    assert later["schema"]["mlflow.db"][0] == later["schema"]["mlflow.db"][1]
    assert later["removed"] == []
    assert first.releases() >= {"3.17.0", "3.17.1", NEW}  # the neighbour's, the way back, what runs

    late = json.dumps({**first.made, **first.people("later", json.dumps(first.made))})
    back = person.json("rollback", first.name, "--yes")["rollback"]
    assert (back["to"]["version"], back["data"], set(back["lost"].values()) - {0}) == ("3.17.1", "kept", set())
    assert first.runs() == "3.17.1"
    assert first.people("late", late) == {"run": 200, "user": 200}
    assert "nothing to go back to" in person.refused("rollback", first.name, "--yes")  # --keep 2: not to 3.17.0

    gone = person.json("upgrade", second.name, "--yes", "--keep", "1")["upgrade"]["removed"]
    assert [release.partition("-")[0] for release in gone] == ["3.17.0"]
    assert first.releases() >= {"3.17.1", NEW}
    assert "3.17.0" not in first.releases()
    assert "nothing to go back to" in person.refused("rollback", second.name, "--yes")
