"""`backup prune`: what is not to be kept any longer goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.backup.place import place_flags
from mlflow_provision.cli.backup.reached import asked_host, secrets_of, wanted
from mlflow_provision.cli.command import again, reports
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import asked
from mlflow_provision.console import DIFFERENCES
from mlflow_provision.console.text import plural, size
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console

HEADER = ("ID", "DECISION", "WHY")


@click.command("prune")
@named
@place_flags("--from")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and why not the rest.")
@click.option("--yes", "-y", is_flag=True, help="Delete without asking.")
@accept_flag
@reports
def prune_command(
    console: Console, name: str | None, dry_run: bool, yes: bool, accept_new_host_key: bool, **flags: Any
) -> ExitCode | None:
    """Delete the backups that no rule of the deployment file keeps: keep_last, keep_daily, keep_weekly, keep_monthly.

    It shows first what would be deleted and why the rest stays, then asks. The newest good backup always stays.
    """
    from mlflow_provision import backups

    deployment, path = wanted(console, name, flags)
    with asked_host(console, backups.only_reading(deployment), secrets_of(path), accept_new_host_key) as reached:
        with console.busy(f"Reading {reached.place}"):
            console.steps(backups.prune(reached, dry_run=True), shown=())
        console.document.details["prune"] = console.answer
        decisions = console.answer["decisions"]
        doomed = [decision["id"] for decision in decisions if not decision["keep"]]
        if decisions:
            console.table(HEADER, [_row(decision) for decision in decisions])
        if not doomed:
            console.say(_all_stay(len(decisions), deployment.name), "good")
            return None
        if dry_run:
            console.say(f"Nothing was deleted. To delete {plural(len(doomed), 'backup')}: {_without_dry_run()}")
            return None
        if not _confirmed(console, len(doomed), yes):
            console.say("Nothing was deleted.")
            return ExitCode.FAILED
        with stoppable(console, reached.host):
            console.steps(backups.prune(reached, dry_run=False), shown=DIFFERENCES)
    console.document.details["prune"] = console.answer
    removed, freed = console.answer["removed"], console.answer["freed"]
    console.say(f"{plural(len(removed), 'backup')} deleted, {size(freed)} freed.", "good")
    return None


def _row(decision: dict[str, Any]) -> tuple[str, str, str]:
    return (decision["id"], "keep" if decision["keep"] else "delete", ", ".join(decision["reasons"]))


def _all_stay(count: int, name: str) -> str:
    return f"{plural(count, 'backup')}, all to be kept." if count else f"There is no backup of {name} to delete."


def _without_dry_run() -> str:
    from mlflow_provision.cli.command import shown, typed

    return shown(*(word for word in typed() if word != "--dry-run"))


def _confirmed(console: Console, count: int, yes: bool) -> bool:
    if yes:
        return True
    if not console.asks:
        raise ProvisionError(
            f"there is no terminal to ask whether to delete {plural(count, 'backup')}",
            f"delete without a question: {again()} --yes",
            ExitCode.USAGE,
        )
    return asked(console, lambda: click.confirm(f"Delete {plural(count, 'backup')}?", err=True))
