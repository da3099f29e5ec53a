"""What has come since an earlier state of the databases, and would be lost by going back to it."""

from __future__ import annotations

import sqlite3
from typing import Any

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.databases import TRACKING, USERS, contents, inspection
from mlflow_provision.agent.restore import current

# What people miss → database, table, column that names it.
_THINGS = {
    "experiments": (TRACKING, "experiments", "experiment_id"),
    "runs": (TRACKING, "runs", "run_uuid"),
    "models": (TRACKING, "registered_models", "name"),
    "traces": (TRACKING, "trace_info", "request_id"),
    "users": (USERS, "users", "username"),
}


def since(then: dict[str, str], now: dict[str, str], owner: str) -> dict[str, int]:
    """How many of each are in the databases `now` and not in those of `then`; databases that are not in `then` stay."""
    found: dict[str, int] = as_user(owner, lambda: {what: _count(what, then, now) for what in _THINGS})
    return found


def _count(what: str, then: dict[str, str], now: dict[str, str]) -> int:
    database, table, column = _THINGS[what]
    if database not in then or database not in now:
        return 0
    try:
        with contents.reading(then[database]) as old, current.reading(now[database]) as new:
            return len(_names(new, table, column) - _names(old, table, column))
    except sqlite3.Error:
        return 0


def _names(connection: sqlite3.Connection, table: str, column: str) -> set[Any]:
    if column not in contents.columns(connection, table):
        return set()
    return {row[0] for row in connection.execute(f"SELECT {inspection.quoted(column)} FROM {inspection.quoted(table)}")}  # noqa: S608
