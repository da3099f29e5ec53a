"""`backup now`: a backup, proved as soon as it is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.backup.key import with_passphrase
from mlflow_provision.cli.backup.place import ask_place, moved, place_flags
from mlflow_provision.cli.backup.reached import asked_host, secrets_of, wanted
from mlflow_provision.cli.backup.shown import content
from mlflow_provision.cli.command import reports, shown
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.console import DIFFERENCES, EVERYTHING
from mlflow_provision.console.text import duration, size

if TYPE_CHECKING:
    from mlflow_provision.backups import Reached
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console


@click.command("now")
@named
@place_flags("--to")
@click.option("--no-artifacts", is_flag=True, help="Leave out artifacts that are in a folder of the host.")
@click.option("--no-verify", is_flag=True, help="Do not read the backup back afterwards.")
@accept_flag
@reports
def now_command(
    console: Console,
    name: str | None,
    no_artifacts: bool,
    no_verify: bool,
    accept_new_host_key: bool,
    **flags: Any,
) -> None:
    """Back a server up now: databases, users, secrets, configuration, and artifacts that are in a folder.

    The server goes on working meanwhile. The host itself brings the backup to its PLACE, and then reads it back to
    prove that it can be restored. Without --to it goes to the place in the deployment file; a deployment that has none
    takes the first PLACE that is given as its own.

    \b
    mlflow-provision backup
    mlflow-provision backup prod --to operator:~/mlflow-backups
    mlflow-provision backup prod --to s3://bucket/backups --instance-role
    """
    from mlflow_provision import backups
    from mlflow_provision.config import load

    deployment, path = wanted(console, name, flags)
    if not deployment.backup.destination:
        deployment = moved(deployment, {"backup.destination": ask_place(console, deployment)})
    secrets = with_passphrase(console, deployment, secrets_of(path))
    with asked_host(console, deployment, secrets, accept_new_host_key) as reached, stoppable(console, reached.host):
        console.steps(backups.ready(reached, load(path)), shown=DIFFERENCES)
        known = _known_identity(reached)
        console.steps(backups.make(reached, not no_artifacts, not no_verify, known), shown=EVERYTHING)
    _say(console, reached, console.answer["backup"])
    _keep(console, deployment, path)


def _known_identity(reached: Reached) -> str:
    """What proves the content of the backup too, where our secrets have it."""
    from mlflow_provision.backups import known_identity

    encryption = reached.settings["encryption"]
    return known_identity(encryption, reached.secrets) if encryption["recipient"] else ""


def _say(console: Console, reached: Reached, backup: dict[str, Any]) -> None:
    console.document.details["backup"] = backup
    mark = backup["verified"]
    proved = {"full": ", and it can be restored", "sums": ", and is there as it was sent"}
    console.say()
    console.say(
        f"{reached.deployment.name} is backed up{proved[mark['level']] if mark else ''}: "
        f"{size(backup['stored_size'])} in {reached.place}, {duration(console.seconds) or 'no time'}.",
        "good",
    )
    console.say(f"  ID       {backup['id']}")
    console.say(f"  Content  {content(backup)}")
    artifacts = reached.deployment.artifacts.destination
    if "://" in artifacts:
        console.say(f"           not the artifacts: these are in {artifacts}")
    if mark and mark["level"] != "full":
        console.say("  Note     what opens it is not known here, so its content was not looked at:")
        console.say(f"           {shown('backup', 'verify', backup['id'], reached.deployment.name)}")
    console.say(f"  Restore  {shown('restore', backup['id'], reached.deployment.name)}")


def _keep(console: Console, deployment: Deployment, path: Path) -> None:
    """The first place of a deployment is its own from now on. A timer is another decision."""
    from mlflow_provision.cli.ending import short
    from mlflow_provision.config import changed, load, save

    kept = load(path)
    if kept.backup.destination:
        return
    backup = deployment.backup
    keys = {"destination": backup.destination, "region": backup.region, "endpoint_url": backup.endpoint_url}
    keys |= {"credentials": backup.credentials, "profile": backup.profile, "schedule": "off"}
    save(changed(kept, {f"backup.{key}": value for key, value in keys.items()}), path)
    console.say()
    console.say(f"{backup.destination} is from now on the place of its backups, as {short(path)} says.")
    if not backup.with_operator:
        console.say(f"  By itself, every day: {shown('backup', 'schedule', deployment.name, '--every', 'daily')}")
