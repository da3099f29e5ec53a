"""`rotate aws`: another access key, wherever the old one is used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from mlflow_provision.agent.protocol import CHANGED
from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected, where
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import asked, unasked
from mlflow_provision.cli.rotate.new_key import INSTALLED, Source, brief, obtained, take_back
from mlflow_provision.cli.rotate.retire import retire
from mlflow_provision.cli.verified import verified
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.aws.roles import AccessKey
    from mlflow_provision.console import Console
    from mlflow_provision.host import Host
    from mlflow_provision.provision import Prepared
    from mlflow_provision.rotation.aws import Use

# Ids of the resources in which a key is used.
OURS = ("store", "aws-credentials", "backup-store", "backup-job", "service", "record")


@click.command("aws")
@named
@click.option("--iam", is_flag=True, help="Have IAM make the new key, and make the old one inactive.")
@click.option("--aws-profile", metavar="PROFILE", default="", help="With --iam: whose rights to use for that.")
@click.option("--from-profile", metavar="PROFILE", default="", help="Take the new key from this profile.")
@click.option("--backups", is_flag=True, help="The key of the backups, where they have one of their own.")
@click.option("--delete-old", is_flag=True, help="With --iam: delete the old key instead of making it inactive.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@accept_flag
@reports
def aws_command(
    console: Console,
    name: str | None,
    iam: bool,
    aws_profile: str,
    from_profile: str,
    backups: bool,
    delete_old: bool,
    yes: bool,
    accept_new_host_key: bool,
) -> ExitCode | None:
    """Give a server another AWS access key: for its artifacts, and for its backups where these use the same.

    The new key is made by IAM (--iam), taken from a profile, or typed. The host tries it before anything changes; then
    it takes the place of the old one on the host and here, the server is restarted and verified. Then the old one is
    made inactive, or you are told how.
    """
    from mlflow_provision.config import load_secrets, secrets_beside
    from mlflow_provision.rotation.aws import stale_variables, use
    from mlflow_provision.rotation.journal import begun

    source = Source(iam, aws_profile, from_profile, delete_old)
    source.check()
    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    used = use(deployment, path, load_secrets(secrets_beside(path)), backups)
    noted = begun(deployment.name, used.what)
    old = noted.get("old") or used.key.access_key_id
    with connected(console, deployment, accept_new_host_key) as host:
        if noted.get("stage") != INSTALLED:
            with console.busy("Looking at " + where(deployment)):
                before = _prepared(host, used)
            _say(console, host, used, before, source, noted)
            if not _confirmed(console, yes):
                console.say("Nothing was changed.")
                return ExitCode.FAILED
            key = obtained(console, used, source, noted)
            used = _installed(console, host, used, before, key, source)
        fate = retire(console, host, used, old, source)
    console.document.details["rotated"] = {"old_access_key_id": old, "old": fate, "kept_in": used.kept}
    for variable in stale_variables(used):
        console.note(f"{variable} is set here and still has the old key: change it where it is set")
    console.say(f"{deployment.name} uses a new AWS key, and it was proved.", "good")
    return None


def _prepared(host: Host, used: Use) -> Prepared:
    from mlflow_provision.provision import prepare

    return prepare(host, used.deployment, used.secrets)


def _say(console: Console, host: Host, used: Use, before: Prepared, source: Source, noted: dict[str, str]) -> None:
    """What will happen, and what happens besides: the host is brought up to date."""
    from mlflow_provision.provision import plan

    console.say(f"The AWS key {used.key.access_key_id} of {used.deployment.name} is replaced.", "strong")
    console.say(f"  Used for  {', '.join(used.places)}")
    console.say(f"  New one   {brief(source, noted)}")
    console.say(f"  Kept in   {', '.join(used.kept)}, and on {where(used.deployment)}")
    console.say("  Then      the server is restarted and verified; it is away for about ten seconds")
    with console.busy("Comparing"):
        results = console.steps(plan(host, before.resources), shown=())
    if more := [result.title for result in results if result.verdict == CHANGED and result.step not in OURS]:
        console.note(f"this is as `setup` would do it too, and is done along with it: {', '.join(more)}")


def _confirmed(console: Console, yes: bool) -> bool:
    if yes:
        return True
    if not console.asks:
        raise unasked("replace it", "replace it")
    return asked(console, lambda: click.confirm("Go on?", default=True, err=True))


def _installed(console: Console, host: Host, used: Use, before: Prepared, key: AccessKey, source: Source) -> Use:
    """The new key everywhere, and proved; or the old one, as before."""
    from mlflow_provision.provision import apply
    from mlflow_provision.rotation.aws import keep, try_key
    from mlflow_provision.rotation.journal import note

    new = replace(used, secrets=used.secrets_with(key))
    applied = False
    try:
        with console.busy("Trying the new key from the host"):
            try_key(host, used, key)
        prepared = _prepared(host, new)
        applied = True
        with stoppable(console, host):
            console.steps(apply(host, prepared, f"rotate aws {used.deployment.name}"))
        verified(console, host, prepared, kill=False)
    except ProvisionError as error:
        if error.code is ExitCode.INTERRUPTED:
            raise  # both keys are good: the same command goes on
        raise _with_the_old_key(console, host, used, before if applied else None, source, error) from None
    keep(used, key)
    note(used.deployment.name, used.what, stage=INSTALLED, secret="")
    return new


def _with_the_old_key(
    console: Console, host: Host, used: Use, before: Prepared | None, source: Source, error: ProvisionError
) -> ProvisionError:
    """The error to tell, after the way back."""
    from mlflow_provision.provision import apply

    message = error.message
    if before:
        console.say("Going back to the old key", "strong")
        try:
            console.steps(apply(host, before, f"rotate aws {used.deployment.name}: back"))
        except ProvisionError as worse:
            return ProvisionError(
                f"{message}\nAnd the way back failed: {worse.message}",
                f"bring the host to the old key when that is mended: mlflow-provision setup {used.deployment.name}",
                error.code,
            )
    said = take_back(used, source)
    return ProvisionError(
        "\n".join(filter(None, [message, "The old key is in use as before.", said])), error.hint, error.code
    )
