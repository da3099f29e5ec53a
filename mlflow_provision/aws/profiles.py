"""The keys and the region of a profile in ~/.aws, for a server that is to live on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlflow_provision.config.rules.artifacts import PROFILE
from mlflow_provision.config.secrets_file import key_problem
from mlflow_provision.config.wording import did_you_mean, one_of, shown
from mlflow_provision.errors import ExitCode, ProvisionError

TEMPORARY = {  # keys of a profile whose credentials last hours, and where it gets them
    "role_arn": "assumes a role",
    "sso_session": "signs in through IAM Identity Center",
    "sso_start_url": "signs in through IAM Identity Center",
    "login_session": "signs in with `aws login`",
    "web_identity_token_file": "exchanges a web identity token",
    "credential_process": "asks a program",
    "aws_session_token": "has a session token",
}
WAY_OUT = (
    "use an instance role (--instance-role), or the profile of an IAM user made for the server, with an access key"
)


@dataclass(frozen=True)
class ProfileKeys:
    """What a server can use for as long as it lives."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    region: str = ""


def profile_keys(profile: str) -> ProfileKeys:
    """The keys that the AWS tools would use with this profile; refuses those that a server would lose."""
    found = read_profiles().get(profile)
    if found is None:
        raise unknown_profile(profile)
    for key, how in TEMPORARY.items():
        if text(found, key):
            raise refused(
                f"the AWS profile {shown(profile)} {how} ({key}): "
                "its keys expire within hours, and a server cannot renew them",
                WAY_OUT,
            )
    keys = ProfileKeys(text(found, "aws_access_key_id"), text(found, "aws_secret_access_key"), text(found, "region"))
    for key, value in (("access key id", keys.access_key_id), ("secret access key", keys.secret_access_key)):
        if problem := key_problem(value) if value else "is missing":
            message = f"the {key} of the AWS profile {shown(profile)} {problem}"
            raise refused(message, f"aws configure {option(profile)}")
    return keys


def profile_names() -> list[str]:
    """The profiles of this machine, sorted."""
    return sorted(read_profiles())


def read_profiles() -> dict[str, dict[str, Any]]:
    """All profiles, from the files that the AWS tools read, or that their variables name."""
    import botocore.exceptions
    import botocore.session

    try:
        profiles: dict[str, dict[str, Any]] = botocore.session.Session().full_config["profiles"]
    except botocore.exceptions.ConfigParseError as error:
        path = error.kwargs["path"]  # the rest of the error quotes a line of the file, which may be a key
    else:
        return profiles
    raise refused(f"{path} is not a file that the AWS tools can read", f"open {path} and correct it")


def unknown_profile(profile: str) -> ProvisionError:
    known = profile_names()
    if not known:
        return refused(
            f"there is no AWS profile {shown(profile)}: none is in ~/.aws", f"aws configure {option(profile)}"
        )
    return refused(
        f"there is no AWS profile {shown(profile)} in ~/.aws: there is {one_of(known)}{did_you_mean(profile, known)}",
        f"aws configure {option(profile)}",
    )


def option(profile: str) -> str:
    """The profile as an option of a command to type."""
    return f"--profile {profile if PROFILE.fullmatch(profile) else 'PROFILE'}"


def text(found: dict[str, Any], key: str) -> str:
    value = found.get(key, "")
    return value.strip() if isinstance(value, str) else ""  # a nested block: nothing that we look for is one


def refused(message: str, hint: str) -> ProvisionError:
    return ProvisionError(message, hint, ExitCode.USAGE)
