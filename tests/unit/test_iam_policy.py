"""`iam-policy`: JSON on stdout and nothing else, advice beside it, and a role only after a yes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.aws.policy import policy, trust_policy
from mlflow_provision.config import Artifacts, Backup
from tests.unit.aws_account import PROFILE, account, client
from tests.unit.conftest import CommandLine

OWN_ROLE = Backup("s3://safe/b", append_only=True, credentials="instance-role")
BUCKET = Artifacts("s3://team/ml", "us-west-1", credentials="instance-role")


@pytest.fixture
def iam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("moto", reason="moto is not installed here")
    with account(tmp_path, monkeypatch):
        yield client("iam")


def test_the_policy_of_a_deployment_is_all_of_stdout(command_line: CommandLine) -> None:
    command_line.known(artifacts=BUCKET, backup=Backup("s3://team/backups"))
    result = command_line.run("iam-policy", "server")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == policy("s3://team/ml", "s3://team/backups")
    for words in ("iam-policy server > policy.json", "aws iam create-role --role-name mlflow-server", "aws ec2 asso"):
        assert words in result.stderr
    assert command_line.connections == []


def test_the_only_deployment_needs_no_name_and_a_flag_replaces_its_backups(command_line: CommandLine) -> None:
    command_line.known(artifacts=BUCKET, backup=Backup("/srv/backups"))
    assert json.loads(command_line.run("iam-policy").stdout) == policy("s3://team/ml")
    with_backups = command_line.run("iam-policy", "--backups", "s3://safe/b")
    assert json.loads(with_backups.stdout) == policy("s3://team/ml", "s3://safe/b")
    assert "iam-policy server --backups s3://safe/b --trust > trust.json" in with_backups.stderr


def test_without_a_deployment(command_line: CommandLine) -> None:
    result = command_line.run("iam-policy", "--artifacts", "s3://team/ml", "--backups", "s3://team/b")
    assert json.loads(result.stdout) == policy("s3://team/ml", "s3://team/b")
    assert json.loads(command_line.run("iam-policy", "--artifacts", "s3://t-1", "--trust").stdout) == trust_policy()
    assert command_line.run("iam-policy", "--artifacts", "s3://team/ml", "--quiet").output == ""


def test_backups_that_can_only_be_added_to(command_line: CommandLine) -> None:
    command_line.known(artifacts=BUCKET)
    flags = ("--backups", "s3://safe/b", "--append-only")
    wanted = policy("s3://team/ml", "s3://safe/b", append_only=True)
    result = command_line.run("iam-policy", *flags)
    assert json.loads(result.stdout) == wanted
    assert "iam-policy server --backups s3://safe/b --append-only > policy.json" in result.stderr
    assert json.loads(command_line.run("iam-policy", "--artifacts", "s3://team/ml", *flags).stdout) == wanted


def test_a_server_in_china_has_other_names(command_line: CommandLine) -> None:
    command_line.known(artifacts=Artifacts("s3://team/ml", "cn-north-1", credentials="instance-role"))
    assert "arn:aws-cn:s3:::team/ml/*" in command_line.run("iam-policy").stdout
    assert "ec2.amazonaws.com.cn" in command_line.run("iam-policy", "--trust").stdout


@pytest.mark.parametrize(
    ("artifacts", "told"),
    [
        (Artifacts(), "server needs no IAM policy: its artifacts are in a folder of its host"),
        (Artifacts("/srv/artifacts"), "server needs no IAM policy"),
        (
            Artifacts("s3://team/ml", endpoint_url="https://minio:9000", credentials="keys"),
            "s3://team/ml needs no IAM policy: https://minio:9000 is not AWS",
        ),
    ],
)
def test_what_needs_no_policy(command_line: CommandLine, artifacts: Artifacts, told: str) -> None:
    command_line.known(artifacts=artifacts)
    result = command_line.run("iam-policy", "server")
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr and "Next: " in result.stderr


def test_backups_alone_may_need_one(command_line: CommandLine) -> None:
    command_line.known(backup=replace(OWN_ROLE, append_only=False))
    assert json.loads(command_line.run("iam-policy").stdout) == policy("s3://safe/b")


@pytest.mark.parametrize(
    ("backup", "artifacts", "wanted"),
    [
        (Backup("s3://safe/b", append_only=True), BUCKET, policy("s3://team/ml", "s3://safe/b", append_only=True)),
        (Backup("/srv/backups"), BUCKET, policy("s3://team/ml")),
        (OWN_ROLE, Artifacts(), policy("", "s3://safe/b", append_only=True)),
        (Backup("s3://safe/b", endpoint_url="https://minio:9000", credentials="keys"), BUCKET, policy("s3://team/ml")),
        (
            Backup("s3://safe/b", credentials="keys"),
            Artifacts("s3://team/ml", endpoint_url="https://minio:9000", credentials="keys"),
            policy("s3://safe/b"),
        ),
    ],
)
def test_the_policy_is_about_what_is_at_aws(
    command_line: CommandLine, backup: Backup, artifacts: Artifacts, wanted: dict[str, Any]
) -> None:
    command_line.known(artifacts=artifacts, backup=backup)
    assert json.loads(command_line.run("iam-policy", "server").stdout) == wanted


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("server", "--artifacts", "s3://team/ml"), "NAME and --artifacts both say which bucket"),
        (("--artifacts", "/srv"), "needs no IAM policy"),
        (("--artifacts", ""), "needs no IAM policy"),
        (("--artifacts", "s3://Team/ml"), "is not the name of a bucket"),
        (("server", "--instance", "i-0123456789abcdef0"), "which role"),
        (("server", "--role", "r", "--trust"), "keep one of them"),
        (("server", "--append-only"), "append-only is about backups"),
        (("server", "--backups", "s3://team/ml/b", "--append-only"), "one is inside the other"),
        (("server", "--role", "r"), "no terminal to ask"),
        (("server", "--role", "a;b", "--yes"), "cannot be the name of a role"),
        (("server", "--role", "r", "--yes", "--aws-profile", "gone"), "no AWS profile 'gone'"),
        (("server", "--role", "r", "--yes", "--aws-profile", PROFILE, "--instance", "x; ls"), "not the id of an inst"),
    ],
)
def test_wrong_usage(command_line: CommandLine, iam: Any, flags: tuple[str, ...], told: str) -> None:
    command_line.known(artifacts=BUCKET)
    result = command_line.run("iam-policy", *flags)
    assert result.exit_code == 2 and told in result.stderr and "Next: " in result.stderr


def test_a_role_is_made_after_a_yes(command_line: CommandLine, iam: Any, person: None) -> None:
    command_line.known(artifacts=BUCKET)
    wanted = ("iam-policy", "server", "--role", "mlflow", "--aws-profile", PROFILE)
    refused = command_line.run(*wanted, answers="n\n")
    assert refused.exit_code == 1 and "Nothing was changed." in refused.stdout
    assert iam.list_roles()["Roles"] == []
    agreed = command_line.run(*wanted, answers="y\n")
    assert agreed.exit_code == 0 and "created the role mlflow" in agreed.stdout
    made = iam.get_role_policy(RoleName="mlflow", PolicyName="mlflow-provision")
    assert made["PolicyDocument"] == policy("s3://team/ml")


def test_a_role_for_an_instance_as_a_program_asks_for_it(command_line: CommandLine, iam: Any) -> None:
    command_line.known(artifacts=BUCKET)
    ec2 = client("ec2")
    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["ubuntu/*xenial*"]}])["Images"][0]["ImageId"]
    host = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    document = command_line.json(
        "iam-policy", "--role", "mlflow", "--instance", host, "--aws-profile", PROFILE, "--yes"
    )
    assert document["ok"] and document["deployment"] == "server"
    assert document["policy"] == policy("s3://team/ml") and document["trust_policy"] == trust_policy()
    assert document["done"][0].startswith("created the role mlflow")
    assert document["done"][-1] == f"attached the role mlflow to {host}"
    found = ec2.describe_instances(InstanceIds=[host])["Reservations"][0]["Instances"][0]["IamInstanceProfile"]
    assert found["Arn"].endswith("/mlflow")
