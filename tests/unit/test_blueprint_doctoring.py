"""What the agent is asked when a deployment is examined."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mlflow_provision.agent.doctor import MENDABLE
from mlflow_provision.blueprint.doctoring import doctor_request, mend_request
from mlflow_provision.config import Artifacts, Backup, Deployment, Secrets

FACTS: dict[str, Any] = {
    "root": {"path": "/opt/mlflow"},
    "hostname": "box",
    "addresses": ["10.0.0.5"],
    "memory": 4 << 30,
    "cpus": 2,
}
SECRETS = Secrets(admin_password="canary-admin", aws_access_key_id="AKID", aws_secret_access_key="canary-aws")
DEPLOYMENT = Deployment("server", "box.example.com")


def on_s3() -> Deployment:
    artifacts = Artifacts("s3://bucket/p", region="us-west-1", credentials="profile", profile="basketworld")
    return replace(DEPLOYMENT, artifacts=artifacts)


def test_a_look_holds_no_lock_and_leaves_no_note() -> None:
    request = doctor_request(DEPLOYMENT, SECRETS, FACTS)
    assert request["action"] == "look"
    assert not {"lock", "audit", "what"} & set(request)
    json.dumps(request)


def test_to_mend_holds_the_lock_and_is_noted() -> None:
    request = mend_request(DEPLOYMENT, SECRETS, FACTS, list(MENDABLE))
    assert request["action"] == "mend"
    assert request["mend"] == list(MENDABLE)
    assert request["lock"] == "/run/mlflow-provision.lock"
    assert "doctor server --fix" in request["what"]
    assert request["audit"]["deployment"] == "server"


def test_only_some_checks() -> None:
    assert doctor_request(DEPLOYMENT, SECRETS, FACTS, ["disk"])["only"] == ["disk"]


def test_keys_that_the_host_has_are_not_sent() -> None:
    assert "canary-aws" not in json.dumps(doctor_request(on_s3(), SECRETS, FACTS))


def test_keys_of_a_place_for_backups_are() -> None:
    backed_up = replace(on_s3(), backup=Backup("s3://backups/b"))
    request = doctor_request(backed_up, SECRETS, FACTS)
    assert request["backup"]["has_keys"]
    assert request["backup"]["place"]["secret_access_key"] == "canary-aws"
    assert request["backup"]["timer"] == "mlflow-server-backup.timer"


@pytest.mark.parametrize(("destination", "folder"), [("/srv/backups", "/srv/backups/server"), ("operator:~/b", "")])
def test_backups_elsewhere(destination: str, folder: str) -> None:
    backup = doctor_request(replace(DEPLOYMENT, backup=Backup(destination)), SECRETS, FACTS)["backup"]
    assert (backup["folder"], backup["has_keys"]) == (folder, False)
    assert backup["with_operator"] == destination.startswith("operator:")


def test_artifacts_in_a_folder_of_their_own_are_written_to() -> None:
    request = doctor_request(replace(DEPLOYMENT, artifacts=Artifacts("/srv/artifacts")), SECRETS, FACTS)
    assert request["written"] == ["/opt/mlflow/server/data", "/srv/artifacts"]
    assert "/srv/artifacts" in request["disks"]
    inside = doctor_request(DEPLOYMENT, SECRETS, FACTS)
    assert inside["written"] == ["/opt/mlflow/server/data"]
    assert doctor_request(on_s3(), SECRETS, FACTS)["written"] == ["/opt/mlflow/server/data"]


def test_user_scope_has_no_unit() -> None:
    mine = replace(DEPLOYMENT, host="local", scope="user")
    request = doctor_request(mine, SECRETS, {**FACTS, "root": {"path": "/home/ada/mlflow"}})
    assert (request["unit"], request["user"], request["files"]["unit_file"]) == ("", "", "")
    assert request["files"]["log"] == "/home/ada/mlflow/server/server.log"
