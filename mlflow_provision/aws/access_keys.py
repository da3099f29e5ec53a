"""Access keys of IAM users: whose one is, a new one, and the end of an old one."""

from __future__ import annotations

from typing import Any

from mlflow_provision.aws.roles import AccessKey
from mlflow_provision.aws.session import client, code_of, command, default_region, told
from mlflow_provision.errors import ProvisionError


def user_of(profile: str, access_key_id: str) -> str:
    """The name of the IAM user who has this key; `profile`: whose rights to use, "" for the default credentials."""
    with told("find out whose access key it is", profile):
        try:
            return str(_iam(profile).get_access_key_last_used(AccessKeyId=access_key_id)["UserName"])
        except Exception as error:
            if code_of(error) != "NoSuchEntity":
                raise
    raise ProvisionError(
        "the access key in use is not that of an IAM user in this account",
        "give the profile of the account it belongs to: --aws-profile PROFILE; "
        "or make a key there yourself, and run this again without --iam",
    )


def make(profile: str, user: str) -> AccessKey:
    """A further key of a user, who can have two."""
    iam = _iam(profile)
    with told(f"make an access key for {user}", profile):
        try:
            made = iam.create_access_key(UserName=user)["AccessKey"]
        except iam.exceptions.LimitExceededException:
            look = command(f"iam list-access-keys --user-name {user}", profile)
            end = command(f"iam delete-access-key --user-name {user} --access-key-id ID", profile)
            raise ProvisionError(
                f"the user {user} has two access keys already, and there can be no third",
                f"see which is not in use, and delete it: {look}\n{end}",
            ) from None
    return AccessKey(made["AccessKeyId"], made["SecretAccessKey"])


def switch(profile: str, user: str, access_key_id: str, on: bool) -> None:
    """Make a key inactive, or active again. Both can be repeated."""
    with told(f"make an access key of {user} {'active' if on else 'inactive'}", profile):
        _iam(profile).update_access_key(UserName=user, AccessKeyId=access_key_id, Status="Active" if on else "Inactive")


def delete(profile: str, user: str, access_key_id: str) -> None:
    """Delete a key. One that is gone already is no error."""
    with told(f"delete an access key of {user}", profile):
        try:
            _iam(profile).delete_access_key(UserName=user, AccessKeyId=access_key_id)
        except Exception as error:
            if code_of(error) != "NoSuchEntity":
                raise


def _iam(profile: str) -> Any:
    return client("iam", profile, default_region(profile) or "us-east-1")
