"""`destroy`: the host as it was, with or without the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlflow_provision.agent.protocol import CHANGED, FAILED
from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected, where
from mlflow_provision.cli.deployments import chosen, complete_name
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import asked, say_plan, unasked
from mlflow_provision.console.text import duration
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console


@click.command("destroy")
@click.argument("name", shell_complete=complete_name)
@click.option("--delete-data", is_flag=True, help="Delete databases and local artifacts too. There is no way back.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for the name.")
@accept_flag
@reports
def destroy_command(
    console: Console, name: str, delete_data: bool, yes: bool, accept_new_host_key: bool
) -> ExitCode | None:
    """Remove a server from its host, and forget the deployment.

    Its databases and artifacts stay on the host unless --delete-data is given; a bucket is never touched.
    """
    from mlflow_provision.provision import apply_resources, plan, removal

    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    with connected(console, deployment, accept_new_host_key) as host:
        with console.busy("Looking at " + where(deployment)):
            resources, facts = removal(host, deployment, delete_data)
        console.home = facts["home"] if deployment.scope == "user" else ""
        changes = say_plan(console, console.steps(plan(host, resources), shown=()), diffs=False)
        data = console.shortened(f"{facts['root']['path']}/{deployment.name}/data")
        console.say(_fate(deployment, data, delete_data), "bad" if delete_data else "strong")
        if not _confirmed(console, deployment, yes):
            console.say("Nothing was changed.")
            return ExitCode.FAILED
        if changes:
            with stoppable(console, host):
                events = apply_resources(host, resources, deployment, facts, f"destroy {deployment.name}")
                console.steps(events, shown=(CHANGED, FAILED))
    _end_tunnel(deployment)
    _forget(console, path, data_stay=not delete_data)
    console.say(f"{deployment.name} is gone from {where(deployment)} ({duration(console.seconds)}).", "good")
    return None


def _fate(deployment: Deployment, data: str, delete_data: bool) -> str:
    """What becomes of the data."""
    bucket = deployment.artifacts.destination if "://" in deployment.artifacts.destination else ""
    rest = f" The artifacts in {bucket} are not touched." if bucket else ""
    if deployment.backup.destination:
        rest += f" The backups in {deployment.backup.destination} stay."
    if delete_data:
        return f"All experiments, runs and users in {data} will be DELETED.{rest}"
    return f"The data stay in {data}; setup with the same name takes them up again.{rest}"


def _confirmed(console: Console, deployment: Deployment, yes: bool) -> bool:
    if yes:
        return True
    if not console.asks:
        raise unasked("destroy it", "destroy")
    question = f"To destroy it, type its name ({deployment.name})"
    typed: str = asked(console, lambda: click.prompt(question, default="", show_default=False, err=True))
    return typed.strip() == deployment.name


def _end_tunnel(deployment: Deployment) -> None:
    """It would lead nowhere from now on."""
    from mlflow_provision.tunnel import running_on
    from mlflow_provision.tunnel.opening import stopped

    if status := running_on(deployment):
        stopped(status)


def _forget(console: Console, path: Path, data_stay: bool) -> None:
    """The password of data that stay is kept, as they still belong together; so is what opens backups, which stay."""
    from mlflow_provision.config import forget, secrets_beside, secrets_path

    secrets = secrets_path(secrets_beside(path))
    if not data_stay and not _opens_backups(secrets):
        forget(path)
        return
    path.unlink(missing_ok=True)
    if secrets.exists():
        kept = "The password that belongs to the data" if data_stay else "What opens the backups"
        console.say(f"{kept} is kept in {secrets}.")


def _opens_backups(secrets: Path) -> bool:
    """Has this file what nobody can make again? One that cannot be read might."""
    from mlflow_provision.config.secrets_file import read_stored

    try:
        stored = read_stored(secrets)
    except ProvisionError:
        return True
    return bool(stored.get("backup_passphrase") or stored.get("backup_identity"))
