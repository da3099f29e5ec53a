"""Databases that are ready to take the places of others: nothing of them is anywhere but in their own files."""

from __future__ import annotations

import contextlib
import os
import sqlite3

from mlflow_provision.agent.databases import TRACKING, USERS
from mlflow_provision.agent.durable import sync_file, sync_folder
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Context
from mlflow_provision.agent.resources.sqlite_database import SqliteDatabase


def settle(folder: str) -> None:
    """Nothing stays in this folder but the databases themselves, and those are on the disk: from here on they are only
    renamed."""
    tracking = SqliteDatabase("settled", f"{folder}/{TRACKING}")
    if tracking.check(Context()):
        tracking.apply(Context())
    for entry in sorted(os.listdir(folder)):
        path = f"{folder}/{entry}"
        if entry in (TRACKING, USERS):
            with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            sync_file(path)
    for entry in sorted(os.listdir(folder)):
        path = f"{folder}/{entry}"
        if entry.endswith(("-wal", "-journal")) and os.path.getsize(path):
            raise AgentError(f"{path} is still in use", "end what uses it, then run the same command again")
        if entry not in (TRACKING, USERS) and not os.path.isdir(path):
            os.unlink(path)
    sync_folder(folder)
