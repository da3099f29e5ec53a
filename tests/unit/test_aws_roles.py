"""Roles and users with exactly one policy, against moto's IAM and EC2."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.aws import roles
from mlflow_provision.aws.policy import policy
from mlflow_provision.aws.roles import AnotherRole, NotOurs, attach_role, create_role, create_user
from mlflow_provision.errors import ProvisionError
from tests.unit.aws_account import PROFILE, REGION, account, client

pytest.importorskip("moto", reason="moto is not installed here")
POLICY = policy("s3://team/ml")
NAME = "mlflow-server"


@pytest.fixture
def iam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(roles, "PAUSE", 0.01)
    with account(tmp_path, monkeypatch):
        yield client("iam")


@pytest.fixture
def instance(iam: Any) -> str:
    ec2 = client("ec2")
    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["ubuntu/*xenial*"]}])["Images"][0]["ImageId"]
    return str(ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"])


def profile_of(instance_id: str) -> str:
    found = client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    return str(found.get("IamInstanceProfile", {}).get("Arn", "")).rpartition("/")[2]


def assert_made(iam: Any, wanted: dict[str, Any]) -> None:
    role = iam.get_role(RoleName=NAME)["Role"]
    (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert role["Tags"] == [{"Key": "created-by", "Value": "mlflow-provision"}]
    assert iam.list_role_policies(RoleName=NAME)["PolicyNames"] == ["mlflow-provision"]
    assert iam.get_role_policy(RoleName=NAME, PolicyName="mlflow-provision")["PolicyDocument"] == wanted
    carried = iam.get_instance_profile(InstanceProfileName=NAME)["InstanceProfile"]["Roles"]
    assert [one["RoleName"] for one in carried] == [NAME]


def test_a_role_and_the_way_to_an_instance(iam: Any, instance: str) -> None:
    done = create_role(PROFILE, NAME, POLICY)
    assert done[0] == f"created the role {NAME}, with this policy and no other" and len(done) == 2
    assert_made(iam, POLICY)
    assert attach_role(PROFILE, REGION, instance, NAME) == [f"attached the role {NAME} to {instance}"]
    assert profile_of(instance) == NAME
    assert attach_role(PROFILE, REGION, instance, NAME) == [f"{instance} has the role {NAME} already"]


def test_again_it_is_brought_up_to_date(iam: Any) -> None:
    create_role(PROFILE, NAME, policy("s3://elsewhere"))
    assert create_role(PROFILE, NAME, POLICY) == [f"updated the role {NAME}, with this policy and no other"]
    assert_made(iam, POLICY)
    iam.put_role_policy(RoleName=NAME, PolicyName="more", PolicyDocument=json.dumps(POLICY))
    assert create_role(PROFILE, NAME, POLICY) == [f"updated the role {NAME}; it also has policies of others: more"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("operation", ["PutRolePolicy", "CreateInstanceProfile", "AddRoleToInstanceProfile"])
def test_a_role_that_was_left_half_made_is_finished(iam: Any, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    with monkeypatch.context() as patched:
        fail(patched, operation, [Killed()])
        with pytest.raises(Killed):
            create_role(PROFILE, NAME, POLICY)
    create_role(PROFILE, NAME, POLICY)
    assert_made(iam, POLICY)


def test_what_others_made_is_left_alone(iam: Any, instance: str) -> None:
    trust = '{"Version": "2012-10-17", "Statement": []}'
    iam.create_role(RoleName="theirs", AssumeRolePolicyDocument=trust)
    with pytest.raises(NotOurs, match="not made by this tool") as caught:
        create_role(PROFILE, "theirs", POLICY)
    assert "aws iam list-role-policies --role-name theirs" in caught.value.hint
    assert iam.list_role_policies(RoleName="theirs")["PolicyNames"] == []

    iam.create_instance_profile(InstanceProfileName=NAME)
    iam.add_role_to_instance_profile(InstanceProfileName=NAME, RoleName="theirs")
    with pytest.raises(NotOurs, match="carries another role: theirs"):
        create_role(PROFILE, NAME, POLICY)

    iam.create_user(UserName="theirs")
    with pytest.raises(NotOurs):
        create_user(PROFILE, "theirs", POLICY)
    assert iam.list_access_keys(UserName="theirs")["AccessKeyMetadata"] == []


def test_the_role_of_an_instance_is_never_replaced(iam: Any, instance: str) -> None:
    create_role(PROFILE, NAME, POLICY)
    create_role(PROFILE, "other", POLICY)
    attach_role(PROFILE, REGION, instance, "other")
    with pytest.raises(AnotherRole, match="has another instance profile already: other") as caught:
        attach_role(PROFILE, REGION, instance, NAME)
    assert "aws ec2 disassociate-iam-instance-profile --association-id iip-assoc-" in caught.value.hint
    assert profile_of(instance) == "other"


def test_a_new_role_is_waited_for_but_not_for_ever(iam: Any, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create_role(PROFILE, NAME, POLICY)
    unknown = refusal("InvalidParameterValue", "AssociateIamInstanceProfile", "Invalid IAM Instance Profile name")
    with monkeypatch.context() as patched:
        fail(patched, "AssociateIamInstanceProfile", [unknown] * 3)
        attach_role(PROFILE, REGION, instance, NAME)
    assert profile_of(instance) == NAME
    monkeypatch.setattr(roles, "PATIENCE", 0.05)
    client("ec2").disassociate_iam_instance_profile(AssociationId=association(instance))
    fail(monkeypatch, "AssociateIamInstanceProfile", [unknown] * 1000)
    with pytest.raises(ProvisionError, match="Invalid IAM Instance Profile name"):
        attach_role(PROFILE, REGION, instance, NAME)


def association(instance_id: str) -> str:
    found = client("ec2").describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    return str(next(one["AssociationId"] for one in found if one["InstanceId"] == instance_id))


def test_no_such_instance(iam: Any) -> None:
    create_role(PROFILE, NAME, POLICY)
    with pytest.raises(ProvisionError, match="cannot attach the role mlflow-server to i-0123456789abcdef0") as caught:
        attach_role(PROFILE, REGION, "i-0123456789abcdef0", NAME)
    assert caught.value.hint


def test_a_user_with_a_key_whose_secret_shows_nowhere(iam: Any) -> None:
    done, key = create_user(PROFILE, "mlflow", POLICY)
    assert done == ["created the user mlflow with this policy", "made an access key"]
    assert iam.get_user_policy(UserName="mlflow", PolicyName="mlflow-provision")["PolicyDocument"] == POLICY
    assert iam.list_access_keys(UserName="mlflow")["AccessKeyMetadata"][0]["AccessKeyId"] == key.access_key_id
    assert key.secret_access_key and key.secret_access_key not in repr(key) and key.access_key_id not in repr(key)
    assert create_user(PROFILE, "mlflow", POLICY)[0][0] == "updated the user mlflow with this policy"
    with pytest.raises(ProvisionError, match="two access keys") as caught:
        create_user(PROFILE, "mlflow", POLICY)
    assert "aws iam list-access-keys --user-name mlflow" in caught.value.hint


def refusal(code: str, operation: str, message: str = "") -> Exception:
    from botocore.exceptions import ClientError

    error: Exception = ClientError({"Error": {"Code": code, "Message": message}}, operation)
    return error


def fail(patched: pytest.MonkeyPatch, operation: str, errors: list[Any]) -> None:
    """The next calls of this operation end so."""
    from botocore.client import BaseClient

    call = BaseClient._make_api_call

    def failing(self: Any, name: str, arguments: dict[str, Any]) -> Any:
        if name == operation and errors:
            raise errors.pop(0)
        return call(self, name, arguments)

    patched.setattr(BaseClient, "_make_api_call", failing)
