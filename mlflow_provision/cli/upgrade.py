"""`upgrade`: another MLflow, with all that the server has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.backup.key import with_passphrase
from mlflow_provision.cli.backup.reached import secrets_of
from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected, where
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import asked, unasked
from mlflow_provision.cli.upgrade_shown import (
    say_ending,
    say_nothing_to_do,
    say_rehearsed,
    say_summary,
    say_taken_back,
)
from mlflow_provision.console import EVERYTHING
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console
    from mlflow_provision.upgrading import Site
_ALONE = "meanwhile the host goes back to what ran before, unless it comes to the end without us"
KEEP = 2  # releases: the one that runs, and the one before it


@click.command("upgrade")
@named
@click.option("--to", "version", metavar="VERSION", help="A version, or latest.  [default: the tested one]")
@click.option("--dry-run", is_flag=True, help="Rehearse it on a copy of the databases; the server goes on.")
@click.option(
    "--keep", metavar="N", type=click.IntRange(1, 50), default=KEEP, help=f"Releases that stay.  [default: {KEEP}]"
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@accept_flag
@reports
def upgrade_command(
    console: Console,
    name: str | None,
    version: str | None,
    dry_run: bool,
    keep: int,
    yes: bool,
    accept_new_host_key: bool,
) -> ExitCode | None:
    """Give a server another MLflow: its runs, users and artifacts come along.

    It shows what will change, and asks. The new release is installed beside the old one and migrates a copy of the
    databases; a backup is made and proved; then the server stops, its databases are migrated, and it starts and is
    verified. If anything fails, or is interrupted anywhere, the old release runs with the databases it had.

    \b
    mlflow-provision upgrade prod --dry-run     rehearses it on a copy
    mlflow-provision upgrade prod
    mlflow-provision upgrade prod --to latest
    """
    if version == "":  # an unset variable in a script
        raise ProvisionError("--to: is empty", "give a version, or leave out --to", ExitCode.USAGE)
    return upgrade(console, name, version or "", dry_run, keep, yes, accept_new_host_key)


def upgrade(
    console: Console, name: str | None, version: str, dry_run: bool, keep: int, yes: bool, accept_new_host_key: bool
) -> ExitCode | None:
    """Look, show, ask, upgrade; or rehearse it."""
    from mlflow_provision import upgrading

    with reached(console, name, accept_new_host_key) as (site, path), our_words():
        if site.facts["upgrading"]:
            site = taken_back(console, site)
        wanted = upgrading.target(site, version)
        if wanted == site.version:
            note_version(path, wanted)
            say_nothing_to_do(console, site)
            return None
        with console.busy("Comparing"):
            look = upgrading.seen(site, wanted)
            upgrading.check(site, wanted, look)
            files = upgrading.also_changes(site, wanted)
        say_summary(console, site, wanted, look, files, keep, diffs=dry_run)
        if dry_run:
            with stoppable(console, site.host):
                console.steps(upgrading.rehearse(site, wanted), EVERYTHING)
            say_rehearsed(console, site, wanted)
            return None
        if not confirmed(console, f"Upgrade {site.deployment.name} to MLflow {wanted}?", "upgrade it", yes):
            return ExitCode.FAILED
        with stoppable(console, site.host):
            console.steps(upgrading.upgrade(site, wanted, keep), EVERYTHING)
        note_version(path, wanted)
        upgrading.tidy(site)
        say_ending(console, site, wanted, keep)
    return None


@contextmanager
def reached(console: Console, name: str | None, accept_new_host_key: bool) -> Iterator[tuple[Site, Path]]:
    """The server, looked at, and its deployment file; the connection ends with the block."""
    from mlflow_provision import upgrading

    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    secrets = with_passphrase(console, deployment, secrets_of(path))
    with connected(console, deployment, accept_new_host_key) as host:
        with console.busy("Looking at " + where(deployment)):
            site = upgrading.site(host, deployment, secrets)
        console.home = site.facts["home"] if deployment.scope == "user" else ""
        yield site, path


def taken_back(console: Console, site: Site) -> Site:
    """The server after an upgrade that was interrupted was taken back."""
    from mlflow_provision import upgrading

    with stoppable(console, site.host):
        console.steps(upgrading.undo(site), EVERYTHING)
    console.document.details["undone"] = console.answer
    say_taken_back(console, site)
    with console.busy("Looking again"):
        return upgrading.site(site.host, site.deployment, site.secrets)


def confirmed(console: Console, question: str, whether: str, yes: bool) -> bool:
    """May it be done? Without a person to ask, only --yes says so."""
    if yes:
        return True
    if not console.asks:
        raise unasked(whether, "do it")
    if asked(console, lambda: click.confirm(question, err=True)):
        return True
    console.say("Nothing was changed.")
    return False


def note_version(path: Path, version: str) -> None:
    """The deployment file says what runs."""
    from mlflow_provision.config import load, save
    from mlflow_provision.provision import with_version

    kept: Deployment = load(path)
    if kept.mlflow.version != version:
        save(with_version(kept, version), path)


@contextmanager
def our_words() -> Iterator[None]:
    """Hints of the host's side name the option of `setup` that chooses a version, and nothing goes on where it stopped
    here. One that was stopped on request needs none of its own."""
    try:
        yield
    except ProvisionError as error:
        if error.code is ExitCode.INTERRUPTED:
            error.hint = ""
        error.hint = re.sub(r"--mlflow-version\b", "--to", error.hint)
        error.hint = error.hint.replace("it continues where it stopped", _ALONE)
        raise
