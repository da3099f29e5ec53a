"""`restore`: a backup in the place of what is there, or on a new host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.agent.protocol import CHANGED
from mlflow_provision.cli.backup.key import identity, with_passphrase
from mlflow_provision.cli.backup.place import need_place, place_flags
from mlflow_provision.cli.backup.reached import secrets_of, wanted
from mlflow_provision.cli.backup.shown import HEADER, row
from mlflow_provision.cli.backup.words import LATEST, id_and_name, parted
from mlflow_provision.cli.command import again, reports
from mlflow_provision.cli.connection import accept_flag, connected, where
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import asked
from mlflow_provision.cli.restore_shown import say_ending, say_old_host, say_setup, say_summary
from mlflow_provision.console import EVERYTHING
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.backups import Reached
    from mlflow_provision.config import Deployment, Secrets
    from mlflow_provision.console import Console
    from mlflow_provision.host import Host
    from mlflow_provision.provision import Prepared
    from mlflow_provision.restoring import Wish


@dataclass(frozen=True)
class Order:
    """What was typed."""

    id: str  # "": a person chooses
    target: str  # "": where it is now
    safety: bool
    artifacts: bool
    yes: bool


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
    _refuse_early(console, order)
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
        wish = _wish(console, site, order)
        if restoring.blank(site):
            ready = _set_up(console, host, site, secrets, wish, path, order)
        else:
            ready = _agreed(console, site, wish, order, deployment.host)
        if ready is None:
            console.say("Nothing was changed.")
            return ExitCode.FAILED
        with stoppable(console, host):
            console.steps(backups.ready(backups.reading(ready, wish.backup), _here(path, ready.deployment)))
            console.steps(restoring.restore(ready, wish), shown=EVERYTHING)
        answer = console.document.details["restore"] = console.answer
        _note_host(console, path, ready.deployment)
        if _is_new(console, site, order):
            _scheduled_again(console, host, secrets, path)
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
    _refuse_unasked(console, yes)
    with connected(console, deployment, accept_new_host_key) as host:
        with console.busy("Looking at " + where(deployment)):
            site = restoring.site(host, deployment, secrets_of(path))
        site.require_password()
        if not _confirmed(console, deployment, yes, "take back its restore"):
            console.say("Nothing was changed.")
            return ExitCode.FAILED
        with stoppable(console, host):
            console.steps(restoring.undo(site), shown=EVERYTHING)
    console.document.details["undone"] = console.answer
    console.say(f"The restore of {console.answer['id']} is taken back: {console.answer['state']}.", "good")
    return None


def _wish(console: Console, site: Reached, order: Order) -> Wish:
    """Which backup, and what opens it."""
    from mlflow_provision import backups, restoring

    looking = restoring.before_setup(site) if restoring.blank(site) else site
    with console.busy(f"Reading {site.place}"):
        there_are = backups.listed(looking)
    id = order.id or _chosen(console, there_are, site.deployment)
    meant = backups.regular(there_are) if id == LATEST else there_are
    backup = backups.usable(backups.found(meant, id, site.deployment.name))
    return restoring.Wish(backup, identity(console, backup, site.secrets), order.safety, order.artifacts)


def _chosen(console: Console, there_are: list[dict[str, Any]], deployment: Deployment) -> str:
    """What a person says who sees them all."""
    from mlflow_provision.backups import found, regular, usable

    if len(there_are) < 2:
        return LATEST
    name = deployment.name
    recommended = found(regular(there_are), LATEST, name)["id"]
    console.say(f"Backups of {name} in {deployment.backup.destination}:", "strong")
    console.table(("", *HEADER), [(str(number), *row(backup)) for number, backup in enumerate(there_are, 1)])

    def checked(text: str) -> str:
        word = text.strip()
        if word.isdecimal() and 1 <= int(word) <= len(there_are):
            word = there_are[int(word) - 1]["id"]
        try:
            return str(usable(found(there_are, word, name))["id"])
        except ProvisionError as error:
            raise click.UsageError(error.message) from None

    question = f"Which one? Its number, or Enter for {recommended}"
    choice: str = asked(
        console,
        lambda: click.prompt(question, default=recommended, show_default=False, err=True, value_proc=checked),
    )
    return choice


def _agreed(console: Console, site: Reached, wish: Wish, order: Order, known_host: str) -> Reached | None:
    """The host that is ready for it, if a person (or --yes) wants what would happen."""
    from mlflow_provision import restoring

    site.require_password()
    with console.busy("Comparing"):
        seen = restoring.compared(site, wish)
    restoring.refuse_stranger(site, seen, known_host)
    console.document.details["compared"] = seen
    say_summary(console, site, wish, seen)
    return site if _confirmed(console, site.deployment, order.yes) else None


def _set_up(
    console: Console, host: Host, site: Reached, secrets: Secrets, wish: Wish, path: Path, order: Order
) -> Reached | None:
    """A blank host becomes a verified server first, if that is wanted. The place of the backup and that of the
    deployment file may be two, each with keys of its own: `secrets` has those of both."""
    from mlflow_provision import restoring
    from mlflow_provision.cli.verified import verified
    from mlflow_provision.config import load
    from mlflow_provision.provision import apply, prepare, with_keys

    deployment = restoring.fitting(site.deployment, wish.backup)
    # No timer yet: a backup of an empty server would be the latest one.
    own = restoring.unscheduled(replace(deployment, backup=load(path).backup))
    with console.busy("Looking at " + where(deployment)):
        prepared = prepare(host, *with_keys(own, secrets))
    say_setup(console, prepared, wish, changed_version=deployment.mlflow.version != site.deployment.mlflow.version)
    if not _confirmed(console, deployment, order.yes):
        return None
    _keep_password(path, prepared)
    with stoppable(console, host):
        results = console.steps(apply(host, prepared, f"restore {deployment.name}"))
    console.document.changes = sum(result.verdict == CHANGED for result in results)
    verified(console, host, prepared, kill=False)
    console.say("Restoring", "strong")
    known = replace(secrets, admin_password=prepared.secrets.admin_password)
    return restoring.site(host, replace(prepared.deployment, backup=deployment.backup), known)


def _scheduled_again(console: Console, host: Host, secrets: Secrets, path: Path) -> None:
    """The host backs itself up as the deployment file says."""
    from mlflow_provision.config import load
    from mlflow_provision.provision import apply, prepare, with_keys

    deployment = load(path)
    if deployment.backup.scheduled:
        known = replace(secrets, admin_password=secrets_of(path).admin_password)  # the server may be a new one
        prepared = prepare(host, *with_keys(deployment, known))
        with stoppable(console, host):
            console.steps(apply(host, prepared, f"restore {deployment.name}"))


def _keep_password(path: Path, prepared: Prepared) -> None:
    """No server ever has a password that nobody knows."""
    from mlflow_provision.config import load_secrets, save_secrets, secrets_beside

    stored = load_secrets(secrets_beside(path))
    if prepared.secrets.admin_password != stored.admin_password:
        save_secrets(secrets_beside(path), replace(stored, admin_password=prepared.secrets.admin_password))


def _note_host(console: Console, path: Path, deployment: Deployment) -> None:
    """The deployment file says where the deployment is now."""
    from mlflow_provision.config import load, save

    here = _here(path, deployment)
    if here != load(path):
        save(here, path)
        console.say(f'{path} says host = "{deployment.host}" from now on.')


def _here(path: Path, deployment: Deployment) -> Deployment:
    """What the file says when the deployment is there; its place for backups stays what it was."""
    from mlflow_provision.config import load

    kept = load(path)
    return replace(
        kept,
        host=deployment.host,
        scope=deployment.scope,
        identity_file=deployment.identity_file,
        mlflow=replace(kept.mlflow, version=deployment.mlflow.version),
    )


def _refuse_early(console: Console, order: Order) -> None:
    """What a person would be asked must be said where nobody is."""
    if console.asks:
        return
    if not order.id:
        raise ProvisionError(
            "there is no terminal to ask which backup", f"take the newest: {again()} --latest", ExitCode.USAGE
        )
    _refuse_unasked(console, order.yes)


def _refuse_unasked(console: Console, yes: bool) -> None:
    if not (yes or console.asks):
        raise ProvisionError(
            "there is no terminal to ask whether to restore",
            f"restore without a question: {again()} --yes",
            ExitCode.USAGE,
        )


def _confirmed(console: Console, deployment: Deployment, yes: bool, what: str = "restore it") -> bool:
    if yes:
        return True
    question = f"To {what}, type its name ({deployment.name})"
    typed: str = asked(console, lambda: click.prompt(question, default="", show_default=False, err=True))
    return typed.strip() == deployment.name
