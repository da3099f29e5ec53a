"""What the agent is asked about backups: the right keys for the right place, and never what opens a backup."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from mlflow_provision.agent.backup.settings import settings
from mlflow_provision.agent.resources import from_json
from mlflow_provision.backup_keys import from_passphrase, kdf_for, recipient_of
from mlflow_provision.blueprint import schedule
from mlflow_provision.blueprint.backup import (
    crontab_line,
    operator_folder,
    restore_request,
    settings_request,
    status_request,
)
from mlflow_provision.config import Backup, Deployment, Secrets
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.layout import Layout
from tests.unit.hosts import (
    BACKED_UP,
    BACKUP_FOLDER,
    BACKUP_LOCAL,
    COMPATIBLE,
    ELSEWHERE,
    INSTANCE_ROLE,
    LOCAL,
    S3_KEYS,
    SECRETS,
    facts,
)


def asked(deployment: Deployment, secrets: Secrets = SECRETS, **other: Any) -> dict[str, Any]:
    return settings_request(deployment, secrets, facts(deployment, **other))


def with_backup(deployment: Deployment, **values: Any) -> Deployment:
    return dataclasses.replace(deployment, backup=Backup(**values))


@pytest.mark.parametrize("deployment", [BACKED_UP, BACKUP_FOLDER, BACKUP_LOCAL], ids=["s3", "folder", "local"])
def test_the_agent_understands_it(deployment: Deployment) -> None:
    request = json.loads(json.dumps(asked(deployment)))
    understood = settings({"settings": request})
    assert understood.source.deployment == deployment.name
    assert understood.user == ("mlflow-server" if deployment.scope == "system" else "")


def test_without_a_place_it_says_how_to_give_one() -> None:
    with pytest.raises(ProvisionError) as error:
        asked(LOCAL)
    assert error.value.code is ExitCode.USAGE
    assert "mlflow-provision setup server --backups s3://bucket/prefix" in error.value.hint


ARTIFACTS_KEY = ("AKIACANARYACCESSKEY", "CANARY/secret+access/key", "CANARY/session/token==")
BACKUP_KEY = ("AKIACANARYBACKUPKEY", "CANARY/backup/key", "")
NO_KEY = ("", "", "")


@pytest.mark.parametrize(
    ("deployment", "region", "endpoint_url", "keys"),
    [
        (with_backup(S3_KEYS, destination="s3://b"), "us-west-1", "", ARTIFACTS_KEY),
        (with_backup(S3_KEYS, destination="s3://b", region="eu-west-1"), "eu-west-1", "", ARTIFACTS_KEY),
        (with_backup(S3_KEYS, destination="s3://b", credentials="keys"), "", "", BACKUP_KEY),
        (with_backup(S3_KEYS, destination="s3://b", credentials="profile", profile="x"), "", "", BACKUP_KEY),
        (with_backup(S3_KEYS, destination="s3://b", credentials="instance-role"), "", "", NO_KEY),
        (with_backup(INSTANCE_ROLE, destination="s3://b"), "us-west-1", "", NO_KEY),
        (with_backup(COMPATIBLE, destination="s3://b"), "", "https://minio.example.org:9000", ARTIFACTS_KEY),
        (with_backup(COMPATIBLE, destination="s3://b", credentials="keys"), "", "", BACKUP_KEY),
        (with_backup(S3_KEYS, destination="/srv/b"), "", "", NO_KEY),
    ],
)
def test_a_place_gets_its_own_keys_and_no_others(
    deployment: Deployment, region: str, endpoint_url: str, keys: tuple[str, str, str]
) -> None:
    place = asked(deployment)["place"]
    assert (place["region"], place["endpoint_url"]) == (region, endpoint_url)
    assert (place["access_key_id"], place["secret_access_key"], place["session_token"]) == keys


def test_a_folder_of_the_operator_is_named_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    deployment = with_backup(INSTANCE_ROLE, destination="operator:~/back ups", schedule="off")
    assert asked(deployment)["place"]["destination"] == "operator:/home/ada/back ups"
    assert operator_folder("operator:~/back ups") == Path("/home/ada/back ups")


def test_what_is_backed_up() -> None:
    source = asked(BACKUP_FOLDER)["source"]
    assert source["databases"] == {
        "mlflow.db": "/opt/mlflow/server/data/mlflow.db",
        "basic_auth.db": "/opt/mlflow/server/data/basic_auth.db",
    }
    assert set(source["files"]) == {"secrets.env", "server.env", "basic_auth.ini", "deployment.json"}
    assert source["artifacts"] == "/opt/mlflow/server/data/artifacts"
    assert asked(with_backup(ELSEWHERE, destination="/srv/b"))["source"]["artifacts"] == "/srv/artifacts"
    assert asked(with_backup(ELSEWHERE, destination="/srv/b", artifacts=False))["source"]["artifacts"] == ""
    assert asked(BACKED_UP)["source"]["artifacts"] == ""


def test_the_deployment_file_is_backed_up_where_it_was_put() -> None:
    path = "/opt/mlflow/server/etc/deployment.toml"
    files = asked(BACKUP_FOLDER, applied={"hashes": {path: "…"}})["source"]["files"]
    assert files["deployment.toml"] == path


def test_the_host_gets_the_recipient_and_never_what_opens_a_backup() -> None:
    kdf = kdf_for("/srv/backups", "server")
    request = asked(BACKUP_FOLDER)
    assert request["encryption"]["kdf"] == kdf
    assert request["encryption"]["recipient"] == recipient_of(from_passphrase(SECRETS.backup_passphrase, kdf))
    assert asked(BACKED_UP)["encryption"]["recipient"] == BACKED_UP.backup.recipient
    for deployment in (BACKUP_FOLDER, BACKED_UP):
        text = json.dumps(asked(deployment))
        assert SECRETS.backup_passphrase not in text and "AGE-SECRET-KEY" not in text


def test_a_missing_passphrase_is_asked_for() -> None:
    with pytest.raises(ProvisionError, match=r"backup_passphrase: missing: write it to server\.secrets\.toml"):
        asked(BACKUP_FOLDER, Secrets())


def test_a_restore_is_told_all_it_needs() -> None:
    asked_for = restore_request(BACKED_UP, SECRETS, facts(BACKED_UP), "restore", "an id", "an identity", safety=False)
    request = json.loads(json.dumps(asked_for))
    assert (request["action"], request["id"], request["identity"]) == ("restore", "an id", "an identity")
    assert (request["safety"], request["artifacts"]) == (False, True)
    assert from_json(request["admin"]).title == "administrator admin"
    assert from_json(request["service"]).title == "mlflow-server.service"
    assert (request["verify"]["level"], request["verify"]["kill"]) == ("full", False)
    assert request["secrets_env"] == "/opt/mlflow/server/etc/secrets.env"
    assert (request["base"], request["data"]) == ("/opt/mlflow/server", "/opt/mlflow/server/data")
    assert (request["owner"], request["lock"]) == ("mlflow-server", "/run/mlflow-provision.lock")


def test_what_a_backup_by_hand_needs_on_the_host() -> None:
    root = PurePosixPath("/opt/mlflow")
    ids = [resource.id for resource in schedule.ready(Layout(BACKUP_FOLDER, root))]
    assert ids == ["backup", "backup-state", "backup-folder", "age"]
    here = with_backup(INSTANCE_ROLE, destination="operator:~/b", schedule="off")
    assert [resource.id for resource in schedule.ready(Layout(here, root))] == ["backup", "backup-state"]


def test_without_systemd_a_person_adds_a_line_to_the_crontab() -> None:
    line = crontab_line(BACKUP_LOCAL, facts(BACKUP_LOCAL))
    base = "/home/ada/mlflow/server"
    assert line == f"45 2 * * * {base}/venv/bin/python -BEsSu {base}/agent.zip {base}/etc/backup.json"
    assert crontab_line(LOCAL, facts(LOCAL)) == ""


def test_what_status_looks_at() -> None:
    state = "/opt/mlflow/server/backup/state"
    assert status_request(BACKUP_FOLDER, facts(BACKUP_FOLDER)) == {
        "user": "mlflow-server",
        "state": state,
        "timer": "mlflow-server-backup.timer",
    }
    off = with_backup(INSTANCE_ROLE, destination="/srv/b", schedule="off")
    assert status_request(off, facts(off))["timer"] == ""
    assert status_request(INSTANCE_ROLE, facts(INSTANCE_ROLE)) == {}
