"""`gc`: what was deleted in MLflow goes for good, rows and artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import in_earnest, reports
from mlflow_provision.cli.connection import accept_flag, connected, where
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.gc_shown import all_of, say_kept, say_removed, say_report
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import asked, unasked
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from mlflow_provision.collecting import Report
    from mlflow_provision.console import Console


@click.command("gc")
@named
@click.option(
    "--older-than", metavar="AGE", help="Deleted at least so long ago: 30d, 12h, 0d. Default: [gc] older_than."
)
@click.option("--orphans", is_flag=True, help="With folders of artifacts that belong to no run, model or trace.")
@click.option("--sole-user", is_flag=True, help="No other server uses the place of the artifacts, though it looks so.")
@click.option("--dry-run", is_flag=True, help="Show what would go, counted and weighed. Touches nothing.")
@click.option("--yes", "-y", is_flag=True, help="Remove it without asking.")
@accept_flag
@reports
def gc_command(
    console: Console,
    name: str | None,
    older_than: str | None,
    orphans: bool,
    sole_user: bool,
    dry_run: bool,
    yes: bool,
    accept_new_host_key: bool,
) -> ExitCode | None:
    """Remove for good what was deleted in MLflow: runs, models and experiments, with their artifacts.

    MLflow only marks what people delete, and keeps all of it. This shows first what would go, counted in the store
    itself, then asks. What is younger than --older-than stays, and so does what a registered model is made of.

    \b
    mlflow-provision gc --dry-run
    mlflow-provision gc --older-than 7d
    mlflow-provision gc --orphans        also what belongs to nothing any more
    """
    from mlflow_provision import collecting

    deployment, _ = chosen(name)
    console.document.deployment = deployment.name
    with connected(console, deployment, accept_new_host_key) as host:
        with console.busy("Looking at " + where(deployment)):
            reached = collecting.reach(host, deployment, older_than or "", orphans, sole_user)
        console.home = reached.facts["home"] if deployment.scope == "user" else ""
        with stoppable(console, host):
            console.steps(collecting.found(reached), shown=())
        report = console.answer
        console.document.details["gc"] = report
        say_report(console, deployment, reached.age, report)
        if line := collecting.crontab_line(reached):
            console.note(f"nothing on this machine does this by itself. To have it done, add to `crontab -e`: {line}")
        if not collecting.anything(report):
            return None
        if dry_run:
            console.say(f"Nothing was removed. To remove it: {in_earnest()}")
            return None
        if not _confirmed(console, report, yes):
            console.say("Nothing was removed.")
            return ExitCode.FAILED
        with stoppable(console, host):
            console.steps(collecting.collected(reached, report), shown=())
    console.document.details["gc"] = console.answer
    told = {kept["id"] for kept in report["kept"]}
    say_kept(console, [kept for kept in console.answer["kept"] if kept["id"] not in told])
    say_removed(console, console.answer)
    return None


def _confirmed(console: Console, report: Report, yes: bool) -> bool:
    if yes:
        return True
    if not console.asks:
        raise unasked("remove it", "remove it")
    return asked(console, lambda: click.confirm(f"Remove {all_of(report)} for good?", default=False, err=True))
