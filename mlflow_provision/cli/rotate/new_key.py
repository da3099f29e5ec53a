"""Where a new AWS key comes from: IAM, a profile, the environment, or a person."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.planned import asked
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.aws.roles import AccessKey
    from mlflow_provision.console import Console
    from mlflow_provision.rotation.aws import Use

VARIABLES = ("MLFLOW_PROVISION_NEW_AWS_ACCESS_KEY_ID", "MLFLOW_PROVISION_NEW_AWS_SECRET_ACCESS_KEY")
NEW, INSTALLED = "new", "installed"  # stages of the journal


@dataclass(frozen=True)
class Source:
    """What was typed about the new key, and about the end of the old one."""

    iam: bool
    profile: str  # whose rights to use at IAM
    from_profile: str
    delete_old: bool

    def check(self) -> None:
        """Refuse what contradicts itself."""
        if self.iam and self.from_profile:
            raise ProvisionError("--iam and --from-profile exclude each other", "keep one of them", ExitCode.USAGE)
        for option, given in (("--aws-profile", self.profile), ("--delete-old", self.delete_old)):
            if given and not self.iam:
                raise ProvisionError(f"{option} belongs to --iam", "add --iam, or leave it out", ExitCode.USAGE)


def brief(source: Source, noted: dict[str, str]) -> str:
    """Where the new key will come from."""
    if noted.get("stage") == NEW:
        return "the one of the run that was interrupted"
    if source.iam:
        return "made by IAM, for the same user"
    if source.from_profile:
        return f"that of the AWS profile {source.from_profile}"
    return "from the environment" if os.environ.get(VARIABLES[0]) else "typed by you"


def obtained(console: Console, used: Use, source: Source, noted: dict[str, str]) -> AccessKey:
    """The new key. It is noted before any host hears of it: a run that is interrupted is gone on with."""
    from mlflow_provision.aws.roles import AccessKey
    from mlflow_provision.rotation.journal import note

    if noted.get("stage") == NEW:
        return AccessKey(noted["id"], noted["secret"])
    user = ""
    if source.iam:
        key, user = _made(console, used, source)
    elif source.from_profile:
        key = _of_profile(source.from_profile)
    else:
        key = _given(console)
    old = used.key.access_key_id
    if key.access_key_id == old:
        raise ProvisionError(
            f"{_short(old)} is the key that is in use already",
            "give another one, or let IAM make it: --iam",
            ExitCode.USAGE,
        )
    note(
        used.deployment.name,
        used.what,
        id=key.access_key_id,
        secret=key.secret_access_key,
        old=old,
        user=user,
        stage=NEW,
    )
    return key


def take_back(used: Use, source: Source) -> str:
    """The new key is of no use: one that IAM made for us is deleted there. Returns what became of it, in words."""
    from mlflow_provision.aws.access_keys import delete
    from mlflow_provision.rotation.journal import begun, ended

    noted = begun(used.deployment.name, used.what)
    said = ""
    if noted.get("user"):
        try:
            delete(source.profile, noted["user"], noted["id"])
            said = f"The new key of {noted['user']} was deleted again."
        except ProvisionError as error:
            said = f"The new key of {noted['user']}, {noted['id']}, could not be deleted: {error.message}"
    ended(used.deployment.name, used.what)
    return said


def _made(console: Console, used: Use, source: Source) -> tuple[AccessKey, str]:
    from mlflow_provision.aws.access_keys import make, user_of

    if not used.at_amazon:
        raise ProvisionError(
            "--iam: the keys of an S3-compatible store are not made by Amazon's IAM",
            "make a new key there, and run this again without --iam; a store with an IAM of its own: "
            "set AWS_ENDPOINT_URL_IAM",
            ExitCode.USAGE,
        )
    with console.busy("Making a new key"):
        user = user_of(source.profile, used.key.access_key_id)
        return make(source.profile, user), user


def _of_profile(profile: str) -> AccessKey:
    from mlflow_provision.aws import profile_keys
    from mlflow_provision.aws.roles import AccessKey

    keys = profile_keys(profile)
    return AccessKey(keys.access_key_id, keys.secret_access_key)


def _given(console: Console) -> AccessKey:
    from mlflow_provision.aws.roles import AccessKey
    from mlflow_provision.config.secrets_file import key_problem

    given = [os.environ.get(variable, "") for variable in VARIABLES]
    if not all(given):
        if not console.asks:
            raise ProvisionError(
                "there is no terminal to type a new key at",
                f"set {' and '.join(VARIABLES)}, or use --iam or --from-profile",
                ExitCode.USAGE,
            )
        given = [_typed("New access key ID", hidden=False, console=console), ""]
        given[1] = _typed("New secret access key", hidden=True, console=console)
    for what, value in zip(("access key ID", "secret access key"), given, strict=True):
        if problem := key_problem(value):
            raise ProvisionError(f"the new {what} {problem}", "copy it again", ExitCode.USAGE)
    return AccessKey(*given)


def _typed(question: str, hidden: bool, console: Console) -> str:
    typed: str = asked(console, lambda: click.prompt(question, hide_input=hidden, err=True))
    return typed.strip()


def _short(access_key_id: str) -> str:
    return f"{access_key_id[:4]}…{access_key_id[-4:]}" if len(access_key_id) > 8 else access_key_id
