"""Another password for the administrator that a deployment is run with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mlflow_provision import users
from mlflow_provision.agent.protocol import Event
from mlflow_provision.config import ENVIRONMENT, load_secrets, save_secrets, secrets_beside, secrets_path
from mlflow_provision.rotation.journal import begun, ended, note

WHAT = "password"


def change(reached: users.Reached, path: Path, new: str, restart: bool, what: str) -> Iterator[Event]:
    """From the old password to the new one, on the server and in the secrets file; when it fails, the old one works.

    `path` is the deployment's file, `what` the command as the host notes it. One that was interrupted before is gone on
    with: whichever password the server has.
    """
    earlier = tuple(begun(reached.deployment.name, WHAT).values())
    events = users.set_password(reached, reached.admin, new, restart, earlier, what)
    yield from _kept(reached, path, new, events)


def reset(reached: users.Reached, path: Path, new: str) -> Iterator[Event]:
    """The same where nobody knows the old one."""
    yield from _kept(reached, path, new, users.reset_password(reached, new))


def stale_variable() -> str:
    """The variable of the environment that still has the old password; "" where none has it."""
    name = ENVIRONMENT["admin_password"]
    return name if os.environ.get(name) else ""


def kept_in(path: Path) -> Path:
    """Where the new password is from now on."""
    return secrets_path(secrets_beside(path))


def _kept(reached: users.Reached, path: Path, new: str, events: Iterator[Event]) -> Iterator[Event]:
    name = reached.deployment.name
    # Whichever the server has if we are interrupted, again and again: it is among these.
    earlier = [one for one in begun(name, WHAT).values() if one != new]
    note(name, WHAT, new=new, **{f"earlier{number}": one for number, one in enumerate(earlier)})
    yield from events
    beside = secrets_beside(path)
    save_secrets(beside, replace(load_secrets(beside), admin_password=new))
    ended(name, WHAT)
