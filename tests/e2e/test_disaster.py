"""A host is gone, and what was on it is wanted back: on a blank host, with a newer MLflow, from wherever it is."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.backup import manifest as manifests
from mlflow_provision.config.deployment import DEFAULT_MLFLOW_VERSION
from mlflow_provision.config.rules.mlflow import OLDEST
from tests.e2e import teamwork
from tests.e2e.backed_up import BASE, BUCKET, changed
from tests.e2e.operator import Operator
from tests.e2e.served import NAME
from tests.e2e.traces import untouched
from tests.e2e.waiting import AGENT, until
from tests.lab import LabHost, RcloneS3

OLD = ".".join(map(str, OLDEST))
PASSPHRASE = "correct-horse-battery-staple"
MINE = "operator:~/mine"
SECOND = "operator@second"


@dataclass(frozen=True)
class Lost:
    """What a host held that is gone, and the operator who knew it."""

    operator: Operator
    host: str
    backup: dict[str, Any]
    work: teamwork.Work
    seen: dict[str, Any]
    secrets: str


@pytest.fixture(scope="module")
def lost(rclone_s3: RcloneS3, tmp_path_factory: pytest.TempPathFactory) -> Lost:
    """A server of the oldest MLflow, with a team's work on it, that backs itself up every day, encrypted."""
    operator = Operator(tmp_path_factory.mktemp("home"))
    operator.variables |= {
        "MLFLOW_PROVISION_BACKUP_ACCESS_KEY_ID": rclone_s3.key,
        "MLFLOW_PROVISION_BACKUP_SECRET_ACCESS_KEY": rclone_s3.secret,
        "MLFLOW_PROVISION_BACKUP_PASSPHRASE": PASSPHRASE,
    }
    if not (rclone_s3.folder / BUCKET).exists():
        rclone_s3.create_bucket(BUCKET)
    with LabHost() as host:
        first = known(operator, host, "first")
        operator.run("setup", first, "--name", NAME, "--mlflow-version", OLD, "--yes")
        bucket = ("--aws-keys", "--endpoint-url", rclone_s3.endpoint, "--region", "us-east-1")
        to = ("--to", f"s3://{BUCKET}/disaster", *bucket, "--passphrase")
        operator.run("backup", "schedule", NAME, "--every", "daily", *to, "--yes")
        with teamwork.as_admin(operator, NAME) as admin:
            work = teamwork.make(admin)
            seen = {**teamwork.seen(admin, work), "files": teamwork.SUMS}  # 3.10 takes an ö in a name, but gives a 500
        made = operator.json("backup", "now", NAME)["backup"]
        return Lost(operator, first, made, work, seen, host.path(f"{BASE}/etc/secrets.env").read_text())


def known(operator: Operator, host: LabHost, alias: str) -> str:
    """How the operator calls one more host: another one may get the name of a host that is gone, in the lab."""
    operator.ssh_config = operator.home / "ssh_config"
    with operator.ssh_config.open("a") as config:
        config.write(host.ssh_config.read_text().replace(f"Host {host.name}\n", f"Host {alias}\n"))
    return f"{host.user}@{alias}"


@pytest.fixture(scope="module")
def blank() -> Iterator[LabHost]:
    with LabHost() as host:
        yield host


@pytest.fixture(scope="module")
def rescued(lost: Lost, blank: LabHost) -> dict[str, Any]:
    """The document of the restore of all that on a blank host, with today's MLflow."""
    operator = lost.operator
    restore = ("restore", "--latest", NAME, "--to", known(operator, blank, "second"), "--yes")
    file = operator.toml(NAME).read_text()
    with untouched(blank):
        for wrong in ("wrong-horse-battery-staple", ""):
            operator.variables["MLFLOW_PROVISION_BACKUP_PASSPHRASE"] = wrong
            assert "MLFLOW_PROVISION_BACKUP_PASSPHRASE" in operator.refused(*restore, code=2)
    assert operator.toml(NAME).read_text() == file
    operator.variables["MLFLOW_PROVISION_BACKUP_PASSPHRASE"] = PASSPHRASE
    operator.edit(NAME, f'version = "{OLD}"', f'version = "{DEFAULT_MLFLOW_VERSION}"')
    return operator.json(*restore)


def test_a_blank_host_serves_what_a_host_that_is_gone_had(lost: Lost, blank: LabHost, rescued: dict[str, Any]) -> None:
    """And it was an older MLflow there: its databases are migrated."""
    operator, answer = lost.operator, rescued["restore"]
    print(f"blank host to verified server with the data back: {rescued['seconds']:.0f} s")
    assert (answer["id"], answer["migrated"], answer["mlflow_version"]) == (lost.backup["id"], True, OLD)
    assert {check["verdict"] for check in answer["checks"]} == {"ok"}
    with teamwork.as_admin(operator, NAME) as admin:
        assert admin.call("GET", "/version").text == DEFAULT_MLFLOW_VERSION
        assert teamwork.seen(admin, lost.work) == lost.seen
        assert [name for name in teamwork.USERS if teamwork.manages(admin, lost.work, name)] == ["ada"]
    assert lost.seen["users"] == {"ada": 200, "grace": 200} and set(lost.seen["strangers"].values()) == {401}
    assert f'host = "{SECOND}"' in operator.toml(NAME).read_text()
    assert lost.host not in operator.toml(NAME).read_text()
    for line in lost.secrets.splitlines():  # stored keys of the gateway can be read with nothing else
        assert line in blank.path(f"{BASE}/etc/secrets.env").read_text().splitlines()
    assert blank.run(["systemctl", "is-active", f"mlflow-{NAME}-backup.timer"]).stdout == "active\n"
    assert operator.changed("plan", NAME) == []
    assert operator.json("verify", NAME)["ok"] is True
    shown = "".join(operator.shown)
    assert not [secret for secret in (PASSPHRASE, "AGE-SECRET-KEY", *teamwork.USERS.values()) if secret in shown]


def test_a_host_that_serves_it_already_is_not_taken_for_a_new_one(
    lost: Lost, blank: LabHost, rescued: dict[str, Any]
) -> None:
    """By somebody who does not know yet that it has moved."""
    file = lost.operator.toml(NAME)
    with (
        changed(file, file.read_text().replace(SECOND, lost.host).encode()),
        untouched(blank, ignoring=f"{BASE}/data"),
    ):
        said = lost.operator.refused("restore", "--latest", NAME, "--to", SECOND, "--yes", code=2)
        assert SECOND in said and lost.host in said
        assert lost.host in file.read_text()


def test_a_restore_that_was_killed_is_taken_back(lost: Lost, blank: LabHost, rescued: dict[str, Any]) -> None:
    operator = lost.operator
    said = operator.refused("restore", NAME, "--undo", "--yes")
    assert "no restore is half-way" in said
    with teamwork.as_admin(operator, NAME) as admin:
        teamwork.post(admin, "experiments/create", name="later")
    killed_while_it_starts(operator, blank, lost.backup["id"])
    undone = operator.json("restore", NAME, "--undo", "--yes")["undone"]
    assert undone["id"] == lost.backup["id"]
    with teamwork.as_admin(operator, NAME) as admin:
        assert "later" in teamwork.experiments(admin)
        assert teamwork.seen(admin, lost.work) == {**lost.seen, "experiments": sorted(teamwork.experiments(admin))}
    folder = blank.path(f"{BASE}/backup")
    assert not [name for name in ("restore.json", "restoring") if (folder / name).exists()]
    assert not blank.path(f"{BASE}/data/.restore").exists()


def killed_while_it_starts(operator: Operator, host: LabHost, id: str) -> None:
    """A restore whose databases are in place already."""
    process = operator.start("restore", id, NAME, "--yes")
    journal = host.path(f"{BASE}/backup/restore.json")
    until(lambda: journal.exists() and '"starting"' in journal.read_text(), process=process, pause=0.01)
    host.run(["pkill", "-9", "-f", AGENT], check=False)
    process.communicate(timeout=60)
    assert process.returncode != 0 and journal.exists()


@pytest.fixture(scope="module")
def mine(lost: Lost, rescued: dict[str, Any]) -> Path:
    """The store of another backup, on the operator's own machine and not encrypted."""
    file = lost.operator.toml(NAME)
    with changed(file, file.read_text().replace('encryption = "passphrase"', 'encryption = ""').encode()):
        made = lost.operator.json("backup", "now", NAME, "--to", MINE)["backup"]
    assert made["encryption"] == {} and made["artifacts"]["files"] == len(teamwork.FILES)
    return lost.operator.home / "mine" / NAME


@pytest.mark.parametrize("honest", [True, False], ids=["noted", "not noted"])
def test_a_database_of_a_newer_mlflow_is_refused(lost: Lost, blank: LabHost, mine: Path, honest: bool) -> None:
    """Whether its manifest says so or not: MLflow would refuse to start on it, and can only migrate up."""
    place = lost.operator.home / f"newer-{honest}"
    shutil.copytree(mine, place / NAME)
    of_the_future(place / NAME, "f00dfeed4242", noted=honest)
    since = blank.run(["systemctl", "show", f"mlflow-{NAME}", "--property=MainPID"]).stdout
    said = lost.operator.refused("restore", "--latest", NAME, "--from", f"operator:{place}", "--yes")
    assert "9.9.9" in said and DEFAULT_MLFLOW_VERSION in said
    assert f"upgrade {NAME} --to 9.9.9" in said
    assert blank.run(["systemctl", "show", f"mlflow-{NAME}", "--property=MainPID"]).stdout == since
    assert not blank.path(f"{BASE}/data/.restore").exists()


def of_the_future(store: Path, revision: str, noted: bool) -> None:
    """Make the only backup in a store one of a later MLflow, sums and all."""
    (path,) = store.glob("*/manifest.json")
    manifest = manifests.decode(path.read_bytes(), str(path))
    database = path.with_name("future.db")
    database.write_bytes(gzip.decompress((path.parent / "mlflow.db.gz").read_bytes()))
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()
    plain = database.read_bytes()
    database.unlink()
    stored = gzip.compress(plain)
    (path.parent / "mlflow.db.gz").write_bytes(stored)
    members = [
        replace(
            member,
            size=len(plain),
            sha256=hashlib.sha256(plain).hexdigest(),
            stored_size=len(stored),
            stored_sha256=hashlib.sha256(stored).hexdigest(),
        )
        if member.name == "mlflow.db"
        else member
        for member in manifest.members
    ]
    schema = {**manifest.schema, "mlflow.db": revision} if noted else manifest.schema
    changed = replace(manifest, members=tuple(members), schema=schema, mlflow_version="9.9.9")
    path.write_bytes(manifests.encode(changed))


def test_from_the_operators_own_machine_and_the_artifacts_later(lost: Lost, blank: LabHost, mine: Path) -> None:
    """Another disaster; the place that has a backup is not the one of the deployment file."""
    operator = lost.operator
    with teamwork.as_admin(operator, NAME) as admin:
        before = teamwork.seen(admin, lost.work)
    blank.kill()
    with LabHost() as another:
        third = known(operator, another, "third")
        restore = ("restore", "--latest", NAME, "--from", MINE, "--yes")
        document = operator.json(*restore, "--to", third, "--no-artifacts")
        print(f"the same from the operator's machine: {document['seconds']:.0f} s")
        assert document["restore"]["migrated"] is False
        assert f"s3://{BUCKET}/disaster" in operator.toml(NAME).read_text()
        missing = dict.fromkeys(teamwork.FILES, "HTTP 404")
        with teamwork.as_admin(operator, NAME) as admin:
            found = teamwork.seen(admin, lost.work)
            assert {**found, "files": before["files"]} == before
            assert found["files"] == missing
            new = teamwork.artifact(lost.work.experiment, lost.work.runs[1], "new")
            assert admin.call("PUT", new, body=b"newer than the backup").status == 200
        operator.run(*restore)
        with teamwork.as_admin(operator, NAME) as admin:
            assert teamwork.seen(admin, lost.work) == before
            assert admin.call("GET", new).body == b"newer than the backup"
