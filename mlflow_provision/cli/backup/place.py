"""Where backups are: the flags that say so, and the question where nothing does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.planned import asked
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console

# name of the flag's value → the key of the deployment file it sets
KEYS = {
    "place": "backup.destination",
    "region": "backup.region",
    "endpoint_url": "backup.endpoint_url",
    "aws_profile": "backup.profile",
}
_WAYS = {"aws_profile": "profile", "instance_role": "instance-role", "aws_keys": "keys"}
ON_THIS_MACHINE = "operator:~/mlflow-backups"


def place_flags(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`name` is --to or --from; with it come the flags of a bucket. The command gets them as `**flags`."""
    options = (
        click.option(
            name,
            "place",
            metavar="PLACE",
            help="operator:~/folder (on this machine), s3://bucket/prefix, or a folder on the host.",
        ),
        click.option("--aws-profile", metavar="PROFILE", help="A bucket: with the keys of this AWS profile."),
        click.option("--instance-role", is_flag=True, help="A bucket: with the IAM role of the host."),
        click.option("--aws-keys", is_flag=True, help="A bucket: with the backup keys of the secrets file."),
        click.option("--region", metavar="REGION", help="Region of that bucket."),
        click.option("--endpoint-url", metavar="URL", help="An S3-compatible store instead of AWS."),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def keys_of(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed about the place, by the key of the deployment file."""
    ways = [way for way in _WAYS if flags.get(way)]
    if len(ways) > 1:
        names = " and ".join("--" + way.replace("_", "-") for way in ways)
        raise ProvisionError(f"{names} exclude each other", "keep one of them", ExitCode.USAGE)
    typed = {key: flags[name] for name, key in KEYS.items() if flags.get(name)}
    if ways:
        typed = {"backup.profile": "", **typed, "backup.credentials": _WAYS[ways[0]]}
    return typed


def moved(deployment: Deployment, keys: Mapping[str, Any]) -> Deployment:
    """The deployment with another place for its backups. Another bucket is reached like the old one unless said."""
    from mlflow_provision.config import changed

    return checked(changed(deployment, keys))


def checked(deployment: Deployment) -> Deployment:
    """Refuse what cannot be, in the words of the flags."""
    from mlflow_provision.config import validate

    if problems := [spoken(problem) for problem in validate(deployment)]:
        raise ProvisionError("\n".join(problems), "see mlflow-provision backup schedule --help", ExitCode.USAGE)
    return deployment


def spoken(problem: str) -> str:
    """A problem of a key, told as one of the flag that sets it."""
    key, separator, text = problem.partition(":")
    flags = {
        "backup.destination": "PLACE",
        "backup.credentials": "credentials (--instance-role, --aws-profile PROFILE, --aws-keys)",
        "backup.schedule": "--every",
        "backup.profile": "--aws-profile",
    }
    ours = "--" + key.removeprefix("backup.").replace("_", "-") if key.startswith("backup.") else key
    return flags.get(key, ours) + separator + text


def need_place(deployment: Deployment) -> None:
    """There may be backups only where there is a place for them."""
    if not deployment.backup.destination:
        raise _no_place(deployment)


def ask_place(console: Console, deployment: Deployment) -> str:
    """Where a person wants the first backup to go."""
    if not console.asks:
        raise _no_place(deployment)
    console.say(f"{deployment.name} has no place for backups yet. Where should they go?", "strong")
    for place, what in suggestions(deployment):
        console.say(f"  {place:<36}  {what}")
    question = "Place (Enter takes the first)"
    first = suggestions(deployment)[0][0]
    return asked(
        console,
        lambda: click.prompt(
            question, default=first, show_default=False, err=True, value_proc=lambda text: _usable(deployment, text)
        ),
    )


def suggestions(deployment: Deployment) -> list[tuple[str, str]]:
    """Places that would do, the best first, and what there is to say about each."""
    here = deployment.host == "local"
    home = str(Path.home() / "mlflow-backups")
    found = [(home, "a folder on this machine")] if here else [(ON_THIS_MACHINE, "a folder on this machine")]
    artifacts = deployment.artifacts.destination
    if artifacts.startswith("s3://"):
        bucket = artifacts.removeprefix("s3://").partition("/")[0]
        found.insert(0, (f"s3://{bucket}/mlflow-backups", "the bucket of the artifacts"))
    if not here:
        found.append(("/var/backups/mlflow", "a folder on the host: lost if the host is lost"))
    return found


def _usable(deployment: Deployment, text: str) -> str:
    """The place that was typed; asked again if it cannot be one."""
    place = text.strip()
    try:
        moved(deployment, {"backup.destination": place})
    except ProvisionError as error:
        if place.startswith("s3://") and error.message.startswith("credentials"):
            flags = "--instance-role, --aws-profile PROFILE or --aws-keys"
            message = f"for a bucket, Ctrl-C and say how the host may use it: --to {place} with {flags}"
            raise click.UsageError(message) from None
        raise click.UsageError(error.message) from None
    return place


def _no_place(deployment: Deployment) -> ProvisionError:
    return ProvisionError(
        f"{deployment.name} has no place for backups yet",
        f"say where they go: mlflow-provision backup {deployment.name} --to {ON_THIS_MACHINE}",
        ExitCode.USAGE,
    )
