"""The backup that every upgrade and rollback begins with: made, and read back, before anything is touched."""

from __future__ import annotations

import os
from typing import Callable

from mlflow_provision.agent import backup
from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Context
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.steps import Emit
from mlflow_provision.agent.upgrade.wanted import Wanted


def make_folders(wanted: Wanted) -> None:
    """The folders that setup makes where there are backups, and a place for them below ours where there is none."""
    owner, ours = wanted.owner, ("root", wanted.owner) if wanted.owner else ("", "")
    _make(wanted.folder, 0o750 if owner else 0o700, *ours)
    _make(wanted.backups.state, 0o700, owner, owner)
    place = wanted.backups.place.destination
    if place.startswith(f"{wanted.folder}/"):
        _make(place, 0o700, owner, owner)


def back_up(wanted: Wanted, reason: str, operator: str, emit: Emit, stopping: Callable[[], bool]) -> str:
    """The id of a backup of the databases that is whole. Raises AgentError: then nothing has been changed."""
    backup.load(wanted.backups.place.destination)
    from mlflow_provision.agent.backup.actions import act

    request = {"action": "make", "reason": reason, "artifacts": False, "verify": True, "identity": wanted.identity}
    try:
        made = as_user(wanted.owner, lambda: act(wanted.backups, request, operator, emit, stopping), stopping)
    except AgentError as error:
        if error.kind in ("interrupted", "locked"):
            raise
        raise AgentError(f"no good backup can be made before: {error.message}", error.hint, error.kind) from None
    return str(made["backup"]["id"])


def _make(path: str, mode: int, owner: str, group: str) -> None:
    folder = Directory("backup", path, mode, owner, group)
    if not os.path.lexists(path) or folder.check(Context()):
        folder.apply(Context())
