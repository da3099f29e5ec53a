"""Copies in the folder `beside`: taken and checked by a process with the rights of the service user."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sqlite3
import time
from typing import Any, Callable

from mlflow_provision.agent.databases import contents, inspection, settled, snapshot
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.restore import current

Stopping = Callable[[], bool]


def empty(beside: str) -> None:
    """Remove the copies."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(beside)


def snapshots(
    beside: str, paths: dict[str, str], tell: Callable[[int, int], None], stopping: Stopping
) -> dict[str, Any]:
    """Of databases that a server may be using. Their revisions, rows and bytes, and the seconds it took."""

    def take(name: str, path: str, target: str) -> None:
        snapshot.snapshot(name, path, target, tell, stopping)

    return _all_taken(beside, paths, take, stopping)


def taken(beside: str, paths: dict[str, str], stopping: Stopping) -> dict[str, Any]:
    """The same of databases that nobody uses: they stay as they are, bit for bit."""
    return _all_taken(beside, paths, lambda name, path, target: contents.take(path, target), stopping)


def _all_taken(
    beside: str, paths: dict[str, str], take: Callable[[str, str, str], object], stopping: Stopping
) -> dict[str, Any]:
    """One copy to compare with, and one to work on. Those of users first: see `backup.make`."""
    started = time.monotonic()
    empty(beside)
    os.makedirs(_before(beside), mode=0o700)
    found: dict[str, Any] = {"schema": {}, "bytes": 0, "rows": {}}
    for name in sorted(paths, key=lambda name: os.path.getsize(paths[name])):
        copy = f"{_before(beside)}/{name}"
        take(name, paths[name], copy)
        look = functools.partial(_whole, copy, name, stopping)
        found["schema"][name] = look().schema
        found["bytes"] += os.path.getsize(copy)
        with contents.reading(copy) as connection:
            found["rows"].update(contents.counts(connection))
        shutil.copyfile(copy, f"{beside}/{name}")
        os.chmod(f"{beside}/{name}", 0o600)
    found["seconds"] = round(time.monotonic() - started, 2)
    return found


def checked(beside: str, names: dict[str, str], migrated: bool, stopping: Stopping) -> dict[str, str]:
    """Their revisions now. Raises AgentError for what a migration has broken or lost."""
    found = {}
    for name in names:
        path = f"{beside}/{name}"
        _closed(path)
        found[name] = _whole(path, name, stopping).schema
        lost = contents.differences(f"{_before(beside)}/{name}", path) if migrated else []
        if lost:
            message = f"the migration of the {snapshot.title(name)} loses data: {'; '.join(lost)}"
            raise AgentError(message, "stay with the version that runs, and report this to MLflow", "damaged")
    return found


def ready(beside: str) -> None:
    """Only those that were worked on stay, ready to be used."""
    shutil.rmtree(_before(beside))
    settled.settle(beside)


def revision(path: str) -> str:
    """The revision of a schema; "" where it cannot be read."""
    try:
        with current.reading(path) as connection:
            return inspection.schema(connection)
    except sqlite3.Error:
        return ""


def _whole(path: str, name: str, stopping: Stopping) -> inspection.Content:
    try:
        return inspection.content(path, inspection.THOROUGH, stopping)
    except AgentError as error:
        if error.kind != "damaged":
            raise
        hint = "mend it first, or bring back a good backup: mlflow-provision restore"
        raise AgentError(f"the {snapshot.title(name)} is damaged: {error.message}", hint, "damaged") from None


def _closed(path: str) -> None:
    """All of it is in its own file: who only reads looks into no other."""
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _before(beside: str) -> str:
    return f"{beside}/before"
