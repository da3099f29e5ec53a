"""Which backup is restored: the one that was typed, or what a person says who sees them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.backup.key import identity
from mlflow_provision.cli.backup.shown import HEADER, row
from mlflow_provision.cli.backup.words import LATEST
from mlflow_provision.cli.planned import asked
from mlflow_provision.cli.restore_asked import Order
from mlflow_provision.errors import ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.backups import Reached
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console
    from mlflow_provision.restoring import Wish


def wish_of(console: Console, site: Reached, order: Order) -> Wish:
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
