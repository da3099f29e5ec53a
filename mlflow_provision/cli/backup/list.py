"""`backup list`: what there is to restore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.backup.place import place_flags
from mlflow_provision.cli.backup.reached import asked_host, secrets_of, wanted
from mlflow_provision.cli.backup.shown import HEADER, row
from mlflow_provision.cli.command import reports, shown
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import named

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console


@click.command("list")
@named
@place_flags("--from")
@accept_flag
@reports
def list_command(console: Console, name: str | None, accept_new_host_key: bool, **flags: Any) -> None:
    """List the backups of a server, newest first: age, size in the store, MLflow, and when it was last verified."""
    deployment, path = wanted(console, name, flags)
    found = _found(console, deployment, path, accept_new_host_key)
    console.document.details["backups"] = found
    if not found:
        console.say(f"There is no backup of {deployment.name} in {deployment.backup.destination} yet.")
        console.say(f"  Make one: {shown('backup', deployment.name)}")
        return
    console.table(HEADER, [row(backup) for backup in found])


def _found(console: Console, deployment: Deployment, path: Path, accept_new_host_key: bool) -> list[dict[str, Any]]:
    from mlflow_provision.backups import listed, listed_here, only_reading

    if deployment.backup.with_operator:
        return listed_here(deployment)
    with (
        asked_host(console, only_reading(deployment), secrets_of(path), accept_new_host_key) as reached,
        console.busy(f"Reading {reached.place}"),
    ):
        return listed(reached)
