"""The databases that are there now: what they hold, and what is newer than a backup. Read as the service user."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import Any, Iterator
from urllib.parse import quote

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.databases import TRACKING, contents, inspection
from mlflow_provision.agent.restore.wanted import Wanted

# Table → rows of a server that nobody has used yet. Verifications remove what they make.
_BLANK = {
    "experiments": 1,
    "runs": 0,
    "trace_info": 0,
    "registered_models": 0,
    "logged_models": 0,
    "secrets": 0,
    "users": 1,
}


def now(wanted: Wanted) -> dict[str, dict[str, Any]]:
    """Database → `there`, `problem` ("" when it can be read), `rows`, `schema`, `used` (by anybody yet)."""
    found: dict[str, dict[str, Any]] = as_user(
        wanted.owner, lambda: {name: _seen(path) for name, path in wanted.live.items()}
    )
    return found


def newer(wanted: Wanted, since: float) -> dict[str, int]:
    """How many runs were begun or ended, and experiments made, after a moment."""
    found: dict[str, int] = as_user(wanted.owner, lambda: _newer(wanted.live[TRACKING], since))
    return found


def damaged(wanted: Wanted) -> list[str]:
    """What is wrong with the databases that are there, in words; [] when a backup of them must be possible."""
    found: list[str] = as_user(
        wanted.owner, lambda: [f"{path}: {said}" for path in wanted.live.values() if (said := _damage(path))]
    )
    return found


@contextlib.contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection]:
    """A database that is only read, also while a server uses it. Raises sqlite3.Error."""
    # Opened for reading alone it would keep the files beside it, which it needs, for ever.
    with contextlib.closing(sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=20)) as connection:
        yield connection


def _seen(path: str) -> dict[str, Any]:
    seen = {"there": os.path.exists(path), "problem": "", "rows": {}, "schema": "", "used": False}
    if not seen["there"]:
        return {**seen, "problem": "missing"}
    try:
        with reading(path) as connection:
            there = set(inspection.tables(connection))
            counted = {table: _count(connection, table) for table in _BLANK if table in there}
            used = any(count > _BLANK[table] for table, count in counted.items())
            rows = contents.counts(connection)
            return {**seen, "rows": rows, "schema": inspection.schema(connection), "used": used}
    except sqlite3.Error as error:
        return {**seen, "problem": str(error), "used": True}


def _count(connection: sqlite3.Connection, table: str) -> int:
    count: int = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]  # noqa: S608 - names of ours
    return count


def _newer(path: str, since: float) -> dict[str, int]:
    queries = {
        "runs": "SELECT count(*) FROM runs WHERE start_time >= :since OR end_time >= :since",
        "experiments": "SELECT count(*) FROM experiments WHERE creation_time >= :since",
    }
    found = dict.fromkeys(queries, 0)
    with contextlib.suppress(sqlite3.Error), reading(path) as connection:
        for what, query in queries.items():
            found[what] = connection.execute(query, {"since": int(since * 1000)}).fetchone()[0]
    return found


def _damage(path: str) -> str:
    if not os.path.exists(path):
        return "missing"
    try:
        with reading(path) as connection:
            said = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            empty = not inspection.tables(connection)
    except sqlite3.Error as error:
        return str(error)
    return "empty" if empty else "" if said == "ok" else said
