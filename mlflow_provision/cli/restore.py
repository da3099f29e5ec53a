"""`restore`: a backup in the place of what is there, or on a new host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.backup.key import with_passphrase
from mlflow_provision.cli.backup.place import need_place, place_flags
from mlflow_provision.cli.backup.reached import secrets_of, wanted
from mlflow_provision.cli.backup.words import LATEST, id_and_name, parted
from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected, where
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.restore_asked import Order, confirmed, refuse_early, refuse_unasked
from mlflow_provision.cli.restore_choice import wish_of
from mlflow_provision.cli.restore_host import moved_here, note_host, scheduled_again, set_up
from mlflow_provision.cli.restore_shown import say_ending, say_old_host, say_summary
from mlflow_provision.console import EVERYTHING
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.backups import Reached
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console
    from mlflow_provision.restoring import Wish


@click.command("restore")
@id_and_name
@click.option("--latest", is_flag=True, help="The newest backup.")
@click.option("--to", "target", metavar="HOST", help="Onto another host, which is set up first.")
@place_flags("--from")
@click.option("--no-safety-backup", is_flag=True, help="Do not back up first what is there now.")
@click.option("--no-artifacts", is_flag=True, help="Leave the artifacts as they are.")
@click.option("--undo", is_flag=True, help="Take back a restore that was interrupted.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for the name.")
@accept_flag
@reports
def restore_command(
    console: Console,
    words: tuple[str, ...],
    latest: bool,
    target: str | None,
    no_safety_backup: bool,
    no_artifacts: bool,
    undo: bool,
    yes: bool,
    accept_new_host_key: bool,
    **flags: Any,
) -> ExitCode | None:
    """Put a backup in the place of what a server has now: its databases, users, secrets, and missing artifacts.

    It shows what would be replaced and what is newer than the backup, and asks for the name. What is there now is
    backed up first. Then the backup is fetched and checked beside the running server, the server stops, changes its
    databases, starts, and is verified. If anything fails, it runs again with what it had.

    With --to the deployment moves: the HOST is set up, the backup is restored there, and the deployment file names it.

    \b
    mlflow-provision restore                          asks which one
    mlflow-provision restore --latest prod
    mlflow-provision restore --latest prod --to ubuntu@newhost
    """
    wish, name = parted(words)
    if wish and latest:
        raise ProvisionError(f"{wish} or --latest?", "give one of them", ExitCode.USAGE)
    deployment, path = wanted(console, name, flags)
    need_place(deployment)
    if undo:
        return _undo(console, deployment, path, yes, accept_new_host_key, wish or latest or target)
    order = Order(LATEST if latest else wish, target or "", not no_safety_backup, not no_artifacts, yes)
    refuse_early(console, order)
    return _restore(console, deployment, path, order, accept_new_host_key)


def _restore(
    console: Console, deployment: Deployment, path: Path, order: Order, accept_new_host_key: bool
) -> ExitCode | None:
    from mlflow_provision import backups, restoring
    from mlflow_provision.config import load

    secrets = with_passphrase(console, deployment, secrets_of(path))
    there = restoring.elsewhere(deployment, order.target) if order.target else deployment
    with connected(console, there, accept_new_host_key) as host:
        with console.busy("Looking at " + where(there)):
            site = restoring.site(host, there, secrets)
        console.home = site.facts["home"] if there.scope == "user" else ""
        wish = wish_of(console, site, order)
        if restoring.blank(site):
            ready = set_up(console, host, site, secrets, wish, path, order)
        else:
            ready = _agreed(console, site, wish, order, deployment.host)
        if ready is None:
            console.say("Nothing was changed.")
            return ExitCode.FAILED
        with stoppable(console, host):
            console.steps(backups.ready(backups.reading(ready, wish.backup), moved_here(path, ready.deployment)))
            console.steps(restoring.restore(ready, wish), shown=EVERYTHING)
        answer = console.document.details["restore"] = console.answer
        note_host(console, path, ready.deployment)
        if _is_new(console, site, order):
            scheduled_again(console, host, secrets, path)
    say_ending(console, ready.deployment, wish, answer, load(path).backup.destination)
    if order.target and order.target != deployment.host:
        say_old_host(console, deployment)
    return None


def _is_new(console: Console, site: Reached, order: Order) -> bool:
    """Was this server set up for the restore, now or before an interruption? Then nothing is scheduled there yet."""
    from mlflow_provision import restoring

    compared = console.document.details.get("compared")
    return restoring.blank(site) or bool(order.target) or bool(compared and not compared["now"]["used"])


def _undo(
    console: Console, deployment: Deployment, path: Path, yes: bool, accept_new_host_key: bool, more: object
) -> ExitCode | None:
    """What was there before a restore that was killed half-way."""
    from mlflow_provision import restoring

    if more:
        raise ProvisionError(
            "--undo takes back the restore that was interrupted, and no other",
            f"mlflow-provision restore {deployment.name} --undo",
            ExitCode.USAGE,
        )
    refuse_unasked(console, yes)
    with connected(console, deployment, accept_new_host_key) as host:
        with console.busy("Looking at " + where(deployment)):
            site = restoring.site(host, deployment, secrets_of(path))
        site.require_password()
        if not confirmed(console, deployment, yes, "take back its restore"):
            console.say("Nothing was changed.")
            return ExitCode.FAILED
        with stoppable(console, host):
            console.steps(restoring.undo(site), shown=EVERYTHING)
    console.document.details["undone"] = console.answer
    console.say(f"The restore of {console.answer['id']} is taken back: {console.answer['state']}.", "good")
    return None


def _agreed(console: Console, site: Reached, wish: Wish, order: Order, known_host: str) -> Reached | None:
    """The host that is ready for it, if a person (or --yes) wants what would happen."""
    from mlflow_provision import restoring

    site.require_password()
    with console.busy("Comparing"):
        seen = restoring.compared(site, wish)
    restoring.refuse_stranger(site, seen, known_host)
    console.document.details["compared"] = seen
    say_summary(console, site, wish, seen)
    return site if confirmed(console, site.deployment, order.yes) else None
