"""What a host is asked when a server changes its MLflow."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from mlflow_provision.blueprint.upgrading import LOOK, ROLLBACK, UPGRADE, Change, changed, upgrade_request
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.provision import with_version
from tests.unit.hosts import BACKED_UP, CASES, LOCAL, facts, server

SECRETS = Secrets(
    admin_password="CANARY-password",
    aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
    aws_secret_access_key="CANARY-secret-key",
    backup_passphrase="CANARY of three words",
)
APPLIED = {"mlflow_version": "3.10.1", "release": "3.10.1-11111111"}


def request(deployment: Deployment, change: Change, **applied: Any) -> dict[str, Any]:
    return upgrade_request(deployment, SECRETS, facts(deployment, applied={**APPLIED, **applied}), change, "ana@laptop")


def ids(resources: list[dict[str, Any]]) -> list[str]:
    return [resource["id"] for resource in resources]


def one(resources: list[dict[str, Any]], id: str) -> dict[str, Any]:
    (found,) = [resource for resource in resources if resource["id"] == id]
    return found


@pytest.mark.parametrize("deployment", CASES.values(), ids=list(CASES))
def test_what_is_installed_beside_and_what_is_switched(deployment: Deployment) -> None:
    data = request(deployment, Change(UPGRADE, "3.10.1", "3.10.1-11111111", keep=3))
    assert ids(data["install"])[:4] == ["root", "marker", "uv", "release"]
    assert one(data["install"], "release")["path"] == data["to"]["release"] == one(data["resources"], "venv")["target"]
    assert data["to"]["version"] == deployment.mlflow.version and data["keep"] == 3
    assert ids(data["resources"])[-1] == "record"
    assert {"server.env", "basic_auth.ini", "start-script", "venv"} < set(ids(data["resources"]))
    assert not {"store", "uv", "release", "backup-timer", "backup-job", "agent"} & set(ids(data["resources"]))
    assert set(data["live"]) == {"mlflow.db", "basic_auth.db"} and data["verify"]["kill"] is False
    assert json.dumps(data)


def test_a_look_neither_locks_nor_is_noted() -> None:
    data = request(server(), Change(LOOK))
    assert "lock" not in data and "audit" not in data
    data = request(server(), Change(ROLLBACK, "3.17.2"))
    assert data["what"] == "rollback server --to 3.17.2" and data["audit"]["deployment"] == "server"
    assert "CANARY" not in str(data["what"]) + str(data["audit"])


def test_without_a_place_for_backups_one_is_made_on_the_host() -> None:
    data = request(server(), Change(UPGRADE))
    assert data["settings"]["place"]["destination"] == "/opt/mlflow/server/backup/upgrades-store"
    assert one(data["install"], "backup-folder")["path"] == "/opt/mlflow/server/backup/upgrades-store/server"
    assert request(BACKED_UP, Change(UPGRADE))["settings"]["place"]["destination"] == BACKED_UP.backup.destination
    local = request(LOCAL, Change(UPGRADE))
    assert local["unit"] == "" and local["owner"] == "" and "backup/upgrades-store" in str(local["settings"]["place"])


def test_a_release_that_is_there_is_used_whatever_it_would_be_called_today() -> None:
    data = request(with_version(server(), "3.10.1"), Change(ROLLBACK, "3.17.2", release="3.10.1-0fa0fa0f", entry="e"))
    path = "/opt/mlflow/releases/3.10.1-0fa0fa0f"
    assert data["to"]["release"] == path and data["entry"] == "e"
    assert one(data["install"], "release")["path"] == path == one(data["resources"], "venv")["target"]
    assert one(data["resources"], "admin")["release"] == path
    assert one(data["resources"], "record")["facts"]["release"] == "3.10.1-0fa0fa0f"


def test_the_record_says_nothing_new_of_what_is_left_alone() -> None:
    """Keys that changed since the last setup are not proved, and a new timer is not installed."""
    timer = "/etc/systemd/system/mlflow-server-backup.timer"
    before = {"store_proof": "of then", "backup_proof": "of then, too", "hashes": {timer: "the old one"}}
    deployment = BACKED_UP
    found = changed(deployment, SECRETS, facts(deployment, applied={**APPLIED, **before}), "", "ana@laptop")
    record: Any = found[-1]
    assert record.facts["hashes"][timer] == "the old one" and record.operator == "ana@laptop"
    assert "/opt/mlflow/server/agent.zip" not in record.facts["hashes"]
    assert record.facts["backup_proof"] == "of then, too"
    files: dict[str, Any] = {one.id: one for one in found}
    env = files["server.env"]
    assert record.facts["hashes"][env.path] == hashlib.sha256(env.content.encode()).hexdigest()


def test_going_back_to_an_mlflow_without_protection_is_not_refused() -> None:
    assert request(with_version(server(), "2.22.1"), Change(ROLLBACK))["verify"]["guarded"] is False
    assert request(server(), Change(UPGRADE))["verify"]["guarded"] is True


def test_what_is_secret_is_not_shown() -> None:
    assert "CANARY" not in repr(Change(UPGRADE, identity="CANARY"))
