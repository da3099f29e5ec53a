"""Identities for a server: the role of an EC2 instance, or a user with an access key for hosts elsewhere."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlflow_provision.aws.policy import Policy, trust_policy
from mlflow_provision.aws.session import TAG, client, code_of, command, default_region, told
from mlflow_provision.config.wording import shown
from mlflow_provision.errors import ExitCode, ProvisionError

POLICY_NAME = "mlflow-provision"  # of the inline policy
PATIENCE = 30.0  # seconds until every part of AWS has heard of a new role; ten are usual
PAUSE = 2.0

_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")
_TAGS = [{"Key": TAG[0], "Value": TAG[1]}]


class NotOurs(ProvisionError):
    """A role or user of that name is there, and was not made by us. It was not changed."""


class AnotherRole(ProvisionError):
    """The instance has an instance profile already. It was not changed."""


@dataclass(frozen=True)
class AccessKey:
    """AWS shows the secret once, and never again."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)


def create_role(profile: str, name: str, policy: Policy, region: str = "") -> list[str]:
    """A role for EC2 instances with exactly this policy, and the instance profile that carries it; what was done.

    One that we made before is brought up to date; one that somebody else made raises NotOurs.
    """
    _check_name("role", name)
    iam = client("iam", profile, region or default_region(profile) or "us-east-1")
    with told(f"create the role {name}", profile):
        role = _found(lambda: iam.get_role(RoleName=name)["Role"])
        if role is None:
            trust = json.dumps(trust_policy(region))
            iam.create_role(
                RoleName=name,
                AssumeRolePolicyDocument=trust,
                Tags=_TAGS,
                Description="Lets an MLflow server use its bucket",
            )
        elif not _ours(role):
            raise _not_ours("role", name, command(f"iam list-role-policies --role-name {name}", profile))
        iam.put_role_policy(RoleName=name, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(policy))
        done = [f"{'created' if role is None else 'updated'} the role {name}, with this policy and no other"]
        more = _further_policies(iam, name)
        if more:
            done = [f"updated the role {name}; it also has policies of others: {', '.join(more)}"]
        return done + _instance_profile(iam, profile, name)


def attach_role(profile: str, region: str, instance_id: str, name: str) -> list[str]:
    """Give an instance the instance profile of this name; what was done. It works at once, without a restart.

    Raises AnotherRole if the instance has a different one.
    """
    if not _INSTANCE.fullmatch(instance_id):
        raise ProvisionError(
            f"{shown(instance_id)} is not the id of an instance: they look like i-0123456789abcdef0",
            command("ec2 describe-instances --query Reservations[].Instances[].InstanceId", profile, region),
            ExitCode.USAGE,
        )
    ec2 = client("ec2", profile, region)
    with told(f"attach the role {name} to {instance_id}", profile):
        only = [
            {"Name": "instance-id", "Values": [instance_id]},
            {"Name": "state", "Values": ["associating", "associated"]},
        ]
        associations = ec2.describe_iam_instance_profile_associations(Filters=only)["IamInstanceProfileAssociations"]
        for association in associations:
            other = association["IamInstanceProfile"]["Arn"].rpartition("/")[2]
            if other == name:
                return [f"{instance_id} has the role {name} already"]
            detach = f"ec2 disassociate-iam-instance-profile --association-id {association['AssociationId']}"
            raise AnotherRole(
                f"{instance_id} has another instance profile already: {other}",
                f"add the policy to its role, or take it away first: {command(detach, profile, region)}",
            )
        _patiently(
            lambda: ec2.associate_iam_instance_profile(IamInstanceProfile={"Name": name}, InstanceId=instance_id)
        )
    return [f"attached the role {name} to {instance_id}"]


def create_user(profile: str, name: str, policy: Policy) -> tuple[list[str], AccessKey]:
    """A user with exactly this policy, and a new access key of theirs; what was done.

    One that we made before gets the policy and a further key, of which a user can have two; one that somebody else
    made raises NotOurs.
    """
    _check_name("user", name)
    iam = client("iam", profile, default_region(profile) or "us-east-1")
    with told(f"create the user {name}", profile):
        user = _found(lambda: iam.get_user(UserName=name)["User"])
        if user is None:
            iam.create_user(UserName=name, Tags=_TAGS)
        elif not _ours(user):
            raise _not_ours("user", name, command(f"iam list-user-policies --user-name {name}", profile))
        iam.put_user_policy(UserName=name, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(policy))
        try:
            made = iam.create_access_key(UserName=name)["AccessKey"]
        except iam.exceptions.LimitExceededException:
            look = command(f"iam list-access-keys --user-name {name}", profile)
            raise ProvisionError(
                f"the user {name} has two access keys already, and AWS shows their secrets no more",
                f"see which is in use, and delete the other: {look}",
            ) from None
    done = [f"{'created' if user is None else 'updated'} the user {name} with this policy", "made an access key"]
    return done, AccessKey(made["AccessKeyId"], made["SecretAccessKey"])


def _check_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ProvisionError(
            f"{shown(name)} cannot be the name of a {kind}",
            "use up to 64 letters, digits and _ + = , . @ -, for example mlflow-server",
            ExitCode.USAGE,
        )


def _instance_profile(iam: Any, profile: str, name: str) -> list[str]:
    found = _found(lambda: iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"])
    if found is None:
        found = iam.create_instance_profile(InstanceProfileName=name, Tags=_TAGS)["InstanceProfile"]
    roles = [role["RoleName"] for role in found["Roles"]]
    if roles == [name]:
        return []
    if roles:
        raise NotOurs(
            f"the instance profile {name} carries another role: {', '.join(roles)}",
            "choose another name for the role, or see what uses it: "
            + command(f"iam get-instance-profile --instance-profile-name {name}", profile),
        )
    _patiently(lambda: iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name))
    return [f"created the instance profile {name}, by which an instance gets the role"]


def _further_policies(iam: Any, name: str) -> list[str]:
    inline = [one for one in iam.list_role_policies(RoleName=name)["PolicyNames"] if one != POLICY_NAME]
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    return inline + [one["PolicyName"] for one in attached]


def _found(ask: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    from botocore.exceptions import ClientError

    try:
        return ask()
    except ClientError as error:
        if code_of(error) == "NoSuchEntity":
            return None
        raise


def _ours(thing: dict[str, Any]) -> bool:
    return _TAGS[0] in thing.get("Tags", ())


def _not_ours(kind: str, name: str, look: str) -> NotOurs:
    return NotOurs(
        f"there is a {kind} {name} already, and it was not made by this tool: it is left as it is",
        f"choose another name, or put the policy on it yourself; what it has now: {look}",
    )


def _patiently(attempt: Callable[[], Any]) -> None:
    """A role that was just made is not known everywhere at once."""
    from botocore.exceptions import ClientError

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            attempt()
            return
        except ClientError as error:
            if code_of(error) not in ("InvalidParameterValue", "NoSuchEntity") or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)
