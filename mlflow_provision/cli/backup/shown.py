"""How backups look to people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from mlflow_provision.console.text import ago, elapsed, plural, size

HEADER = ("ID", "AGE", "SIZE", "MLFLOW", "VERIFIED", "REASON")
_TABLES = {"experiments": "experiment", "runs": "run", "users": "user"}


def row(backup: dict[str, Any]) -> Sequence[str]:
    """A line of the table; a backup that cannot be used says why."""
    known = bool(backup["started"])
    return (
        backup["id"],
        age(backup["started"]) if known else "",
        size(backup["stored_size"]) if known else "",
        backup["mlflow_version"],
        "DAMAGED" if backup["problem"] else verified(backup),
        backup["problem"] or backup["reason"],
    )


def age(since: float) -> str:
    """How long ago that was."""
    return elapsed(time.time() - since)


def verified(backup: dict[str, Any]) -> str:
    """`2 h ago`; `sums, 2 h ago` where nobody could read the content; `no`."""
    mark = backup["verified"]
    if not mark:
        return "no"
    when = ago(mark["at"], time.time())
    return when if mark["level"] == "full" else f"{mark['level']}, {when}"


def described(backup: dict[str, Any]) -> str:
    """`ID, 2 h 5 min old, MLflow 3.17.2, verified 1 h ago`."""
    mark = "not verified yet" if not backup["verified"] else f"verified ({verified(backup)})"
    return f"{backup['id']}, {age(backup['started'])} old, MLflow {backup['mlflow_version']}, {mark}"


def content(backup: dict[str, Any]) -> str:
    """`3 experiments, 120 runs, 4 users, 17 artifacts (2.1 GB)`."""
    rows = {table: count for tables in backup["rows"].values() for table, count in tables.items()}
    parts = [plural(rows[table], noun) for table, noun in _TABLES.items() if table in rows]
    if backup["artifacts"]:
        parts.append(f"{plural(backup['artifacts']['files'], 'artifact')} ({size(backup['artifacts']['bytes'])})")
    return ", ".join(parts)
