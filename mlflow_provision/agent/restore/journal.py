"""How far a restore has come, and the door that is closed while its databases may be anywhere."""

from __future__ import annotations

from pathlib import Path

from mlflow_provision.agent.databases.journal import Journal
from mlflow_provision.agent.durable import sync_folder
from mlflow_provision.agent.names import GUARD
from mlflow_provision.agent.resources.file import replace

# Phases, in order. Until STOPPING nothing of the server is touched; in SWITCHING its databases may be anywhere; from
# STARTING on others may have written to the restored ones.
STOPPING, SWITCHING, STARTING = "stopping", "switching", "starting"
# The way back: the databases may be anywhere; they are where they were.
UNDOING, RETURNING = "undoing", "returning"
PHASES = (STOPPING, SWITCHING, STARTING, UNDOING, RETURNING)


def journal_in(folder: str) -> Journal:
    """The journal of a restore, in the folder `backup` of a deployment."""
    return Journal(folder, "restore.json")


def close_door(folder: str) -> None:
    """No server starts until the door is opened again."""
    replace(f"{folder}/{GUARD}", "A restore is half-way. The server's start script looks for this file.\n", 0o644)


def open_door(folder: str) -> None:
    Path(f"{folder}/{GUARD}").unlink(missing_ok=True)
    sync_folder(folder)
