"""What opens an encrypted backup: from the secrets, else typed, never shown and never an argument."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.planned import asked
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment, Secrets
    from mlflow_provision.console import Console

_TRIES = 3


def identity(console: Console, backup: dict[str, Any], secrets: Secrets, may_do_without: bool = False) -> str:
    """The identity of a backup; "" if it is not encrypted, or if a person who may do without it has none.

    Raises ProvisionError where it is not known and nobody can be asked, or what was typed is another one.
    """
    from mlflow_provision.backups import known_identity

    encryption = backup["encryption"]
    if not encryption:
        return ""
    if found := known_identity(encryption, secrets):
        return found
    if not console.asks:
        if may_do_without:
            return ""
        raise _unknown(backup)
    what = "Passphrase" if encryption.get("kdf") else "Identity (AGE-SECRET-KEY-1…)"
    console.say(f"The backup {backup['id']} is encrypted to {encryption['recipient']}.")
    for _ in range(_TRIES):
        typed = _hidden(console, f"{what} of the backup" + (", or Enter to go without" if may_do_without else ""))
        if not typed and may_do_without:
            return ""
        if typed and (fitting := _fitting(console, typed, encryption)):
            return fitting
    raise ProvisionError(f"without its key the backup {backup['id']} cannot be read", _hint(backup))


def with_passphrase(console: Console, deployment: Deployment, secrets: Secrets) -> Secrets:
    """The secrets with the passphrase that this deployment's backups are to be encrypted with."""
    if deployment.backup.encryption != "passphrase" or secrets.backup_passphrase or not console.asks:
        return secrets
    return replace(secrets, backup_passphrase=_typed_twice(console, f"Passphrase for backups of {deployment.name}"))


def new_passphrase(console: Console, deployment: Deployment, path: Path) -> None:
    """Backups are to be encrypted with a passphrase: the one that is known, else a person types one, twice."""
    from mlflow_provision.config import load_secrets, save_secrets, secrets_beside, secrets_path

    beside = secrets_beside(path)
    secrets = load_secrets(beside)
    if secrets.backup_passphrase:
        return
    if not console.asks:
        raise ProvisionError(
            "there is no terminal to ask for a passphrase", _place_of("backup_passphrase"), ExitCode.USAGE
        )

    typed = _typed_twice(console, f"Passphrase for backups of {deployment.name}")
    save_secrets(beside, replace(secrets, backup_passphrase=typed))
    console.say(f"It is kept in {secrets_path(beside)}. Keep a copy of it elsewhere:", "bad")
    console.say("if it is lost, no backup can ever be read again.", "bad")


def _typed_twice(console: Console, question: str) -> str:
    """A typing error in it would make backups that nobody can open."""
    from mlflow_provision.config.rules.backup_secrets import passphrase_problem

    def usable(text: str) -> str:
        if problem := passphrase_problem(text):
            raise click.UsageError(f"it {problem}")
        return text

    typed: str = asked(
        console,
        lambda: click.prompt(question, hide_input=True, confirmation_prompt=True, err=True, value_proc=usable),
    )
    return typed


def _fitting(console: Console, typed: str, encryption: dict[str, Any]) -> str:
    from mlflow_provision.backups import identity_from, opens

    with console.busy("Trying it"):
        found = identity_from(typed, encryption)
        if opens(found, encryption):
            return found
    console.say("That is not the one.", "bad")
    return ""


def _hidden(console: Console, question: str) -> str:
    typed: str = asked(
        console, lambda: click.prompt(question, hide_input=True, default="", show_default=False, err=True)
    )
    return typed.strip()


def _unknown(backup: dict[str, Any]) -> ProvisionError:
    return ProvisionError(
        f"the backup {backup['id']} is encrypted to {backup['encryption']['recipient']}, "
        "and what opens it is not known on this machine",
        _hint(backup),
        ExitCode.USAGE,
    )


def _hint(backup: dict[str, Any]) -> str:
    return _place_of("backup_passphrase" if backup["encryption"].get("kdf") else "backup_identity")


def _place_of(name: str) -> str:
    from mlflow_provision.config import ENVIRONMENT

    return f"write {name} into NAME.secrets.toml, or set {ENVIRONMENT[name]}, then run the same command again"
