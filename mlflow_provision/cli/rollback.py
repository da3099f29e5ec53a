"""`rollback`: back to the MLflow that a server had, and what that loses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.command import in_earnest, reports
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import asked, unasked
from mlflow_provision.cli.rollback_shown import say_rolled_back, say_way_back
from mlflow_provision.cli.upgrade import confirmed, note_version, our_words, reached, taken_back
from mlflow_provision.console import EVERYTHING
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.upgrading import Site


@click.command("rollback")
@named
@click.option("--to", "version", metavar="VERSION", help="One it had earlier.  [default: the one before]")
@click.option("--dry-run", is_flag=True, help="Say what it would lose, change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@accept_flag
@reports
def rollback_command(
    console: Console, name: str | None, version: str | None, dry_run: bool, yes: bool, accept_new_host_key: bool
) -> ExitCode | None:
    """Go back to the MLflow that a server had before an upgrade.

    It shows what that loses, and asks. Where both versions have the same schema, today's databases stay and nothing is
    lost; else the databases come back as they were then, and what people did since is kept in a backup, which is made
    and proved first. An upgrade that was interrupted half-way is taken back.

    \b
    mlflow-provision rollback prod --dry-run
    mlflow-provision rollback prod
    """
    from mlflow_provision import upgrading

    if version == "":  # an unset variable in a script
        raise ProvisionError("--to: is empty", "give a version, or leave out --to", ExitCode.USAGE)
    with reached(console, name, accept_new_host_key) as (site, path), our_words():
        if site.facts["upgrading"] and not dry_run:
            note_version(path, taken_back(console, site).version)
            return None
        with console.busy("Comparing"):
            history = upgrading.seen(site, site.version or site.deployment.mlflow.version)["history"]
            entry = upgrading.entry(site, history, version or "")
            release = upgrading.known_release(entry)
            look = upgrading.seen(site, entry["from"]["version"], release)
        console.document.details["rollback_to"] = entry
        say_way_back(console, site, entry, look)
        if dry_run:
            console.say(f"Nothing was changed. To go back: {in_earnest()}")
            return None
        if not _agreed(console, site, entry, yes):
            return ExitCode.FAILED
        with stoppable(console, site.host):
            console.steps(upgrading.rollback(site, entry), EVERYTHING)
        note_version(path, entry["from"]["version"])
        upgrading.tidy(site)
        say_rolled_back(console, site, entry)
    return None


def _agreed(console: Console, site: Site, entry: dict[str, Any], yes: bool) -> bool:
    """Where people's work goes away, the name is typed."""
    name = site.deployment.name
    if yes or not any(entry["lost"].values()) or entry["keeps_data"]:
        question = f"Go back to MLflow {entry['from']['version']}?"
        return confirmed(console, question, "go back", yes)
    if not console.asks:
        raise unasked("go back", "do it")
    typed: str = asked(
        console, lambda: click.prompt(f"To go back, type its name ({name})", default="", show_default=False, err=True)
    )
    if typed.strip() == name:
        return True
    console.say("Nothing was changed.")
    return False
