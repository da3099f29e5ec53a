"""Artifacts in a bucket: stored in the right place, with the keys that were given for it, and those alone."""

from __future__ import annotations

import configparser
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import botocore.session
import pytest

from tests.e2e.buckets import keys_in_environment, keys_in_profile, keys_of, policy
from tests.e2e.instance_metadata import instance_role
from tests.e2e.operator import Operator, on
from tests.e2e.traces import untouched
from tests.lab import Keys, LabHost, MotoS3, RcloneS3

PREFIX = "some/pre=fix,with:odd@characters+"


@pytest.fixture(scope="module")
def host(stocked_host: LabHost) -> LabHost:
    return stocked_host


@pytest.fixture(scope="module")
def strict_s3() -> Iterator[MotoS3]:
    with MotoS3(enforce_iam=True) as server:
        server.create_bucket("team")
        yield server


@pytest.fixture(scope="module")
def resident(host: LabHost, rclone_s3: RcloneS3, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """An operator with a server whose artifacts are in a bucket, on the keys of a profile."""
    operator = Operator(tmp_path_factory.mktemp("operator"), host.ssh_config)
    rclone_s3.create_bucket("models")
    keys_in_profile(operator, "work", rclone_s3.keys)
    where = ("--artifacts", f"s3://models/{PREFIX}", "--endpoint-url", rclone_s3.endpoint, "--aws-profile", "work")
    answer = operator.json("setup", on(host), "--yes", *where)
    assert {check["verdict"] for check in answer["verify"]} == {"ok"}
    return operator


def test_artifacts_are_under_the_prefix(host: LabHost, resident: Operator, rclone_s3: RcloneS3) -> None:
    bucket = rclone_s3.client()
    assert keys_of(bucket, "models") == []  # neither the proof nor the verification has left anything
    upload(host, resident, "server", 5000, "0/run/artifacts/größe & co.txt", "precious")
    assert keys_of(bucket, "models") == [f"{PREFIX}/0/run/artifacts/größe & co.txt"]
    stored = bucket.get_object(Bucket="models", Key=f"{PREFIX}/0/run/artifacts/größe & co.txt")
    assert stored["Body"].read() == b"precious"
    assert resident.json("verify", "server", "--no-kill")["ok"] is True
    assert len(keys_of(bucket, "models")) == 1


def test_the_aws_files_are_amazons_own(host: LabHost, resident: Operator, rclone_s3: RcloneS3) -> None:
    folder = "/opt/mlflow/server/etc/aws"
    modes = host.run(["stat", "-c", "%a %U:%G %n", folder, f"{folder}/credentials", f"{folder}/config"]).stdout
    assert modes.splitlines() == [
        f"750 root:mlflow-server {folder}",
        f"640 root:mlflow-server {folder}/credentials",
        f"640 root:mlflow-server {folder}/config",
    ]
    session = botocore.session.Session(profile="work")
    session.set_config_variable("credentials_file", str(host.path(f"{folder}/credentials")))
    session.set_config_variable("config_file", str(host.path(f"{folder}/config")))
    credentials = session.get_credentials()
    assert Keys(credentials.access_key, credentials.secret_key) == rclone_s3.keys
    assert credentials.method == "shared-credentials-file"
    assert configparser.ConfigParser().read(host.path(f"{folder}/config"))
    environment = server_environment(host, "server")
    assert not [name for name in environment if name.startswith("AWS_") and rclone_s3.secret in environment[name]]


def test_another_bucket_is_refused_until_the_artifacts_are_there(
    host: LabHost, resident: Operator, rclone_s3: RcloneS3
) -> None:
    rclone_s3.create_bucket("models2")
    old = resident.toml("server").read_text()
    move = ("setup", "server", "--yes", "--artifacts", "s3://models2/ml")
    with untouched(host, ignoring="/opt/mlflow/server/data"):
        said = resident.refused(*move)
    assert f"this server keeps its artifacts in s3://models/{PREFIX}; with s3://models2/ml those would no" in said
    assert "Next: copy them there first, then say so: --artifacts-moved" in said
    assert resident.toml("server").read_text() == old
    answer = resident.json(*move, "--artifacts-moved")
    assert changed(answer) == ["store", "server.env", "service", "record"]
    upload(host, resident, "server", 5000, "0/run/artifacts/new.txt", "new")
    assert keys_of(rclone_s3.client(), "models2") == ["ml/0/run/artifacts/new.txt"]
    assert resident.json("setup", "server", "--yes")["changes"] == 0


def test_wrong_keys_are_found_out_before_the_server_gets_them(resident: Operator, rclone_s3: RcloneS3) -> None:
    keys_in_profile(resident, "work", Keys(rclone_s3.key, "not-the-secret"))
    said = resident.refused("setup", "server", "--yes")
    assert "the secret access key is wrong" in said
    assert resident.json("status", "server")["status"]["healthy"] is True
    keys_in_profile(resident, "work", rclone_s3.keys)
    assert resident.json("setup", "server", "--yes")["changes"] == 0


def test_moto_with_keys_from_the_environment(host: LabHost, resident: Operator, strict_s3: MotoS3) -> None:
    """The least that is allowed is enough for the server too: moto enforces the policy.

    It looks for the permission to delete several objects at once on the bucket, where AWS looks at each object: a
    denial that MLflow itself does not notice, and the verification must."""
    least = policy("team", "")
    keys_in_environment(resident, strict_s3.create_user("least", least))
    where = ("--artifacts", "s3://team/ml", "--endpoint-url", strict_s3.endpoint, "--aws-keys")
    said = resident.refused("setup", on(host), "--yes", "--name", "moto", "--port", "5100", *where)
    assert "1 check of 17 failed: is left as it was" in said
    assert [key.rpartition("/")[2] for key in keys_of(strict_s3.client(), "team")] == ["verify.bin"]

    least["Statement"].append({"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::team"})
    strict_s3.client("iam").put_user_policy(UserName="least", PolicyName="lab", PolicyDocument=json.dumps(least))
    strict_s3.client().delete_object(Bucket="team", Key=keys_of(strict_s3.client(), "team")[0])
    assert resident.json("verify", "moto")["ok"] is True
    upload(host, resident, "moto", 5100, "0/run/artifacts/a.txt", "a")
    assert keys_of(strict_s3.client(), "team") == ["ml/0/run/artifacts/a.txt"]
    secrets = (resident.config / "moto.secrets.toml").read_text()
    assert "aws_" not in secrets  # what the environment gives is not written down
    resident.variables.clear()
    resident.refused("plan", "moto", code=2)  # and must be given again


def test_an_instance_role_leaves_no_key_on_the_host(host: LabHost, resident: Operator, rclone_s3: RcloneS3) -> None:
    rclone_s3.create_bucket("role")
    where = ("--artifacts", "s3://role/ml", "--endpoint-url", rclone_s3.endpoint, "--instance-role")
    with instance_role(host, rclone_s3.keys) as metadata:
        answer = resident.json("setup", on(host), "--yes", "--name", "role", "--port", "5200", *where)
        assert {check["verdict"] for check in answer["verify"]} == {"ok"}
        upload(host, resident, "role", 5200, "0/run/artifacts/a.txt", "a")
    assert keys_of(rclone_s3.client(), "role") == ["ml/0/run/artifacts/a.txt"]
    assert any("Botocore/" in agent for agent in metadata.asked_by), metadata.asked_by
    assert not host.path("/opt/mlflow/role/etc/aws").exists()
    found = host.run(["grep", "-rlF", "-e", metadata.session_token, "/opt/mlflow/role", "/etc", "/var"], check=False)
    assert found.stdout == ""
    assert "AWS_SHARED_CREDENTIALS_FILE" not in server_environment(host, "role")


def changed(answer: dict[str, Any]) -> list[str]:
    return [step["step"] for step in answer["steps"] if step["verdict"] == "changed"]


def upload(host: LabHost, operator: Operator, name: str, port: int, path: str, text: str) -> None:
    """Through the server's proxy, as its clients do."""
    login = operator.json("env", name)["environment"]
    url = f"http://localhost:{port}/api/2.0/mlflow-artifacts/artifacts/{quote(path)}"
    secret = f'user = "{login["MLFLOW_TRACKING_USERNAME"]}:{login["MLFLOW_TRACKING_PASSWORD"]}"'
    argv = ["curl", "-sS", "--fail", "-K", "-", "-X", "PUT", "--data-binary", text, url]
    host.run(argv, input=secret)


def server_environment(host: LabHost, name: str) -> dict[str, str]:
    """Of the process that serves."""
    pid = host.run(["systemctl", "show", f"mlflow-{name}", "--property=MainPID", "--value"]).stdout.strip()
    lines = host.run(["cat", f"/proc/{pid}/environ"]).stdout.split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)
