"""How large a deployment's databases are, and how much is in them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import Any

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.databases.inspection import opened
from mlflow_provision.agent.protocol import AgentError

_PATIENCE = 3.0  # seconds; a database that is busy for so long is not counted
_COUNTS = {
    "runs": "SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'",
    "runs_active": "SELECT count(*) FROM runs WHERE lifecycle_stage = 'active' AND status = 'RUNNING'",
    "runs_deleted": "SELECT count(*) FROM runs WHERE lifecycle_stage = 'deleted'",
    "experiments": "SELECT count(*) FROM experiments WHERE lifecycle_stage = 'active'",
}


def counted(user: str, databases: dict[str, str]) -> dict[str, Any]:
    """`database_size` in bytes, journals included, and the numbers of runs and experiments that are not deleted. Nobody
    but the service user opens a database: SQLite may have to write beside it."""
    numbers = as_user(user, lambda: _counts(databases["tracking"])) if os.path.exists(databases["tracking"]) else {}
    return {"database_size": sum(_size(path) for path in databases.values()), **dict.fromkeys(_COUNTS), **numbers}


def _counts(path: str) -> dict[str, int]:
    deadline = time.monotonic() + _PATIENCE

    def look(connection: sqlite3.Connection) -> dict[str, int]:
        return {name: int(connection.execute(query).fetchone()[0]) for name, query in _COUNTS.items()}

    try:
        return opened(path, "mode=ro", look, lambda: time.monotonic() > deadline)
    except AgentError:
        raise AgentError(f"{path} did not answer within {_PATIENCE:.0f} s") from None
    except sqlite3.Error as error:
        raise AgentError(f"{path}: {error}") from None


def _size(path: str) -> int:
    total = 0
    for part in (path, f"{path}-wal", f"{path}-journal"):
        with contextlib.suppress(OSError):
            total += os.stat(part).st_size
    return total
