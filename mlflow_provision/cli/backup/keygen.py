"""`backup keygen`: a key pair. The host gets the half that locks, and never the half that opens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.backup.place import need_place, place_flags
from mlflow_provision.cli.backup.reached import secrets_of, wanted
from mlflow_provision.cli.command import reports, shown
from mlflow_provision.cli.deployments import named
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_provision.config import Deployment, Secrets
    from mlflow_provision.console import Console


@click.command("keygen")
@named
@place_flags("--to")
@reports
def keygen_command(console: Console, name: str | None, **flags: Any) -> None:
    """Make a key pair (age, X25519), so that only you can read the backups of a server.

    The recipient, which encrypts, goes into the deployment file and to the host. The identity, which decrypts, goes
    into the secrets file on this machine and nowhere else. No host is asked.
    """
    from mlflow_provision.backup_keys import generate
    from mlflow_provision.config import changed, check, save, save_secrets, secrets_beside, secrets_path

    deployment, path = wanted(console, name, flags)
    secrets = secrets_of(path)
    need_place(deployment)
    beside = secrets_beside(path)
    _refuse_second(deployment, secrets, secrets_path(beside))
    identity, recipient = generate()
    encrypted = changed(deployment, {"backup.encryption": "recipient", "backup.recipient": recipient})
    check(encrypted, str(path))
    save_secrets(beside, replace(secrets, backup_identity=identity))  # first: no backup may be locked without it
    save(encrypted, path)
    console.document.details["key"] = {"recipient": recipient, "identity_in": str(secrets_path(beside))}
    _say(console, encrypted, path, secrets_path(beside))


def _refuse_second(deployment: Deployment, secrets: Secrets, place: Path) -> None:
    """A new identity in the place of an old one would close all backups that were made before."""
    if not (secrets.backup_identity or deployment.backup.recipient):
        return
    if not secrets.backup_identity:
        raise ProvisionError(
            f"the backups of {deployment.name} are encrypted to {deployment.backup.recipient} already, "
            "whose identity is not on this machine",
            "for a new key, remove encryption and recipient from the deployment file first",
            ExitCode.USAGE,
        )
    raise ProvisionError(
        f"{deployment.name} has a key already, and its backups cannot be read without it",
        f"for a new key, first move backup_identity out of {place} to where you keep it, "
        "and remove encryption and recipient from the deployment file",
        ExitCode.USAGE,
    )


def _say(console: Console, deployment: Deployment, path: Path, secrets: Path) -> None:
    console.say(f"Backups of {deployment.name} are encrypted from now on, and only you can read them.", "good")
    console.say(f"  Recipient  {deployment.backup.recipient}")
    console.say(f"             in {path}")
    console.say(f"  Identity   backup_identity in {secrets}")
    console.say()
    console.say("Keep a copy of the identity elsewhere, in a password manager or on paper:", "bad")
    console.say("if it is lost, no backup can ever be read again.", "bad")
    console.say()
    if deployment.backup.scheduled:
        console.say(f"The host learns the recipient with: {shown('setup', deployment.name)}")
    else:
        console.say(f"The next backup is encrypted: {shown('backup', deployment.name)}")
