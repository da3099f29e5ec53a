"""`backup schedule`: when the host backs itself up, what it keeps, and how the last ones went."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.backup.key import new_passphrase
from mlflow_provision.cli.backup.place import checked, keys_of, moved, need_place, place_flags
from mlflow_provision.cli.backup.schedule_shown import say_schedule
from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected, where
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console

# name of the flag's value → the key of the deployment file it sets
KEYS = {
    "every": "backup.schedule",
    "verify": "backup.verify",
    "keep_last": "backup.keep_last",
    "keep_daily": "backup.keep_daily",
    "keep_weekly": "backup.keep_weekly",
    "keep_monthly": "backup.keep_monthly",
    "artifacts": "backup.artifacts",
    "append_only": "backup.append_only",
}


@click.command("schedule")
@named
@click.option("--every", type=click.Choice(["hourly", "daily", "weekly"]), help="How often.")
@click.option("--off", is_flag=True, help="Not by itself any more. What there is stays.")
@place_flags("--to")
@click.option(
    "--verify", type=click.Choice(["daily", "weekly", "monthly", "off"]), help="How often the newest is read back."
)
@click.option("--keep-last", type=int, metavar="N", help="Keep the last N.")
@click.option("--keep-daily", type=int, metavar="N", help="Keep the last one of each of N days.")
@click.option("--keep-weekly", type=int, metavar="N", help="Keep the last one of each of N weeks.")
@click.option("--keep-monthly", type=int, metavar="N", help="Keep the last one of each of N months.")
@click.option("--artifacts/--no-artifacts", default=None, help="With those in a folder of the host.")
@click.option("--append-only/--no-append-only", default=None, help="The host never deletes a backup.")
@click.option("--passphrase", is_flag=True, help="Encrypt with a passphrase, which is asked.")
@click.option("--yes", "-y", is_flag=True, help="Apply the plan without asking.")
@accept_flag
@reports
def schedule_command(
    console: Console,
    name: str | None,
    off: bool,
    passphrase: bool,
    yes: bool,
    accept_new_host_key: bool,
    **flags: Any,
) -> ExitCode | None:
    """Show when the host backs itself up, or set it.

    Without options: the schedule, when the next backup is due, and how the last ones went. With options the deployment
    file is changed, the plan is shown, and the host is brought up to date, as `setup` does it.

    \b
    mlflow-provision backup schedule --every daily --to s3://bucket/backups
    mlflow-provision backup schedule --keep-daily 14 --keep-monthly 6
    mlflow-provision backup schedule --off
    """
    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    keys = _keys(flags, off)
    if keys or passphrase:
        code = _set(console, deployment, path, keys, passphrase, yes, accept_new_host_key)
        if code:
            return code
        deployment, _ = chosen(deployment.name)
    _show(console, deployment, accept_new_host_key, turned_off=off)
    return None


def _keys(flags: Mapping[str, Any], off: bool) -> dict[str, Any]:
    """What was typed, by the key of the deployment file."""
    if off and flags["every"]:
        raise ProvisionError("--off and --every exclude each other", "keep one of them", ExitCode.USAGE)
    typed = keys_of(flags) | {key: flags[name] for name, key in KEYS.items() if flags[name] is not None}
    return typed | ({"backup.schedule": "off"} if off else {})


def _set(
    console: Console,
    deployment: Deployment,
    path: Path,
    keys: dict[str, Any],
    passphrase: bool,
    yes: bool,
    accept_new_host_key: bool,
) -> ExitCode | None:
    from mlflow_provision.cli.setup import set_up
    from mlflow_provision.cli.target import Wanted
    from mlflow_provision.config import changed

    if not (deployment.backup.destination or "backup.destination" in keys):
        need_place(deployment)
    wanted = moved(deployment, keys)
    if passphrase:
        wanted = checked(changed(wanted, {"backup.encryption": "passphrase", "backup.recipient": ""}))
        new_passphrase(console, wanted, path)
    return set_up(console, Wanted(wanted, path), yes, accept_new_host_key)


def _say_crontab(console: Console, deployment: Deployment, facts: dict[str, Any]) -> None:
    """Nothing runs by itself for a person without systemd, unless that person says so."""
    from pathlib import PurePosixPath

    from mlflow_provision.blueprint.schedule import crontab_line
    from mlflow_provision.layout import Layout

    line = crontab_line(Layout(deployment, PurePosixPath(facts["root"]["path"])))
    console.document.details["schedule"]["crontab"] = line
    console.say()
    console.say("A server without root has no timer. Add this line with `crontab -e`:", "strong")
    console.show(line)


def _show(console: Console, deployment: Deployment, accept_new_host_key: bool, turned_off: bool) -> None:
    from mlflow_provision.provision import control

    state: dict[str, Any] = {}
    if deployment.backup.destination:
        with (
            connected(console, deployment, accept_new_host_key) as host,
            console.busy("Looking at " + where(deployment)),
        ):
            status, facts = control(host, "status", deployment)
        console.home = facts["home"] if deployment.scope == "user" else ""
        state = status.get("backup") or {}
    say_schedule(console, deployment, state)
    if deployment.backup.scheduled and deployment.scope == "user":
        _say_crontab(console, deployment, facts)
    elif turned_off and deployment.scope == "user":
        console.say("If you have put a line for it into your crontab, take it out: `crontab -e`")
