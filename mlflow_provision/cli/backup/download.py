"""`backup download`: a backup in a folder on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.backup.place import place_flags
from mlflow_provision.cli.backup.reached import asked_host, secrets_of, wanted
from mlflow_provision.cli.backup.words import is_id
from mlflow_provision.cli.command import reports, shown
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import complete_name
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.console import EVERYTHING
from mlflow_provision.console.text import duration, size
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("download")
@click.argument("id")
@click.argument("folder", type=click.Path(file_okay=False))
@click.argument("name", required=False, shell_complete=complete_name)
@place_flags("--from")
@accept_flag
@reports
def download_command(
    console: Console, id: str, folder: str, name: str | None, accept_new_host_key: bool, **flags: Any
) -> None:
    """Copy a backup, as it is stored, into a FOLDER on this machine. ID may be `latest`.

    Every object is checked on its way. An encrypted backup stays encrypted. What is there already is not fetched
    again, and the FOLDER is a place like any other afterwards:

    \b
    mlflow-provision backup download latest ~/mlflow-backups
    mlflow-provision restore --latest --from operator:~/mlflow-backups
    """
    from mlflow_provision import backups

    if not is_id(id):
        raise ProvisionError(
            f"{id} is not the ID of a backup", "see what there is: mlflow-provision backup list", ExitCode.USAGE
        )
    deployment, path = wanted(console, name, flags)
    target = Path(folder).expanduser().absolute()
    with asked_host(console, backups.only_reading(deployment), secrets_of(path), accept_new_host_key) as reached:
        with console.busy(f"Reading {reached.place}"):
            backup = backups.usable(backups.found(backups.listed(reached), id, deployment.name))
        with stoppable(console, reached.host):
            console.steps(backups.download(reached, backup["id"], target), shown=EVERYTHING)
    place = f"operator:{target}"
    console.document.details["downloaded"] = {
        "id": backup["id"],
        "folder": str(target / deployment.name),
        "bytes": backup["stored_size"],
        "place": place,
    }
    console.say(
        f"The backup {backup['id']} is in {target / deployment.name}: "
        f"{size(backup['stored_size'])}, {duration(console.seconds) or 'no time'}.",
        "good",
    )
    console.say(f"  Restore  {shown('restore', backup['id'], deployment.name, '--from', place)}")
