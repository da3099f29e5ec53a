"""The way back: the old databases, and the server as it was."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.databases import switch
from mlflow_provision.agent.durable import duplicate, sync_folder
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.restore import aside, fetch
from mlflow_provision.agent.restore.journal import (
    RETURNING,
    STARTING,
    STOPPING,
    UNDOING,
    close_door,
    journal_in,
    open_door,
)
from mlflow_provision.agent.restore.wanted import Wanted

HEALTHY, UNHEALTHY, STOPPED = "healthy", "unhealthy", "stopped"  # how the server was when a restore began


def roll_back(wanted: Wanted) -> str:
    """Bring back what was there when the unfinished restore began. Safe to repeat. Returns what was done, in words."""
    journal = journal_in(wanted.folder)
    noted = journal.read()
    if noted["phase"] not in (STOPPING, RETURNING):
        if noted["phase"] == STARTING:  # others may have written to the restored databases
            noted["kept"] = f"{noted['old']}/failed"
        journal.write(UNDOING, kept=noted.get("kept", ""))
        close_door(wanted.folder)
        wanted.service.stop(lambda: False)
        as_user(wanted.owner, lambda: switch.put_back(noted))
        _put_secrets_back(noted)
        journal.write(RETURNING)
    open_door(wanted.folder)
    state = _as_it_was(wanted, noted)
    journal.end()
    as_user(wanted.owner, lambda: fetch.clean(wanted))
    kept = noted.get("kept", "")
    aside.remove_empty(noted["aside"], noted["old"])
    return state + (f"; what the restored one held is in {kept}" if kept and os.path.isdir(kept) else "")


def _as_it_was(wanted: Wanted, noted: dict[str, Any]) -> str:
    if noted["was"] == STOPPED:
        return "the databases are as they were; the server is stopped, as it was"
    try:
        wanted.service.start(lambda: False)
    except AgentError as error:
        if noted["was"] == HEALTHY:
            message = f"the old databases are back, but the server does not start: {error.message}"
            raise AgentError(message, error.hint, error.kind) from None
        return "the databases are as they were; the server does not run well, as before"
    return "the server runs again as before"


def _put_secrets_back(noted: dict[str, Any]) -> None:
    """Nothing to do where the backup had the same ones."""
    saved, path = f"{noted['aside']}/secrets.env", noted["secrets_env"]
    if noted["secrets"] == "replaced":
        duplicate(saved, path)
    elif noted["secrets"] == "made":
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
            sync_folder(os.path.dirname(path))
