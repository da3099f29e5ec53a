"""The tracking database: what it says of places is read, and rewritten in one transaction."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Iterator
from urllib.parse import quote

from mlflow_provision.agent.databases import contents
from mlflow_provision.agent.databases.inspection import quoted
from mlflow_provision.agent.moving.identity import files_of
from mlflow_provision.agent.moving.plan import Plan, Row, plan
from mlflow_provision.agent.moving.wanted import Wanted
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.file import replace

_PATIENCE = 30.0  # seconds; MLflow's own writers wait for 20


@contextlib.contextmanager
def opened(wanted: Wanted, mode: str = "ro") -> Iterator[sqlite3.Connection]:
    """The live database, with the rights of the service user: nothing of root's ever appears beside it."""
    uri = f"file:{quote(wanted.database)}?mode={mode}"
    try:
        with (
            files_of(wanted.owner),
            contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)) as connection,
        ):
            yield connection
    except sqlite3.Error as error:
        hint = "see how it is: mlflow-provision doctor NAME"
        raise AgentError(f"the tracking database {wanted.database} cannot be used: {error}", hint) from None


def planned(wanted: Wanted) -> Plan:
    """What would be moved and rewritten, as the database is now."""
    with opened(wanted) as connection:
        return plan(connection, wanted.kept, wanted.why_not)


def rewrite(wanted: Wanted, copied: set[str], noted: str) -> tuple[Plan, list[Row]]:
    """Write the new places, of what is rewritten only and of the units `copied`; all, or nothing. What is about to be
    written is noted in the file `noted` first. Returns the plan of that moment too."""
    with opened(wanted, "rw") as connection:
        connection.execute("BEGIN IMMEDIATE")
        now = plan(connection, wanted.kept, wanted.why_not)
        rows = now.ready(copied)
        with files_of(""):
            _note(noted, rows)
        for row in rows:
            _update(connection, row.table, row.column, row.rowid, row.old, row.new)
        connection.execute("COMMIT")
    return now, rows


def put_back(wanted: Wanted, noted: str) -> int:
    """Write the old places again where the new ones still stand. Safe to repeat. Returns how many rows that were."""
    rows = _noted(noted)
    if not rows:
        return 0
    with opened(wanted, "rw") as connection:
        connection.execute("BEGIN IMMEDIATE")
        changed = sum(_update(connection, row.table, row.column, row.rowid, row.new, row.old) for row in rows)
        connection.execute("COMMIT")
    return changed


def places_named(connection: sqlite3.Connection) -> list[str]:
    """Every URI that the database has for a place of artifacts."""
    found = set()
    for table, names in contents.PLACES.items():
        for name in set(names) & set(contents.columns(connection, table)):
            query = f"SELECT DISTINCT {quoted(name)} FROM {quoted(table)}"  # noqa: S608 - quoted
            found |= {str(row[0]) for row in connection.execute(query) if row[0]}
    if contents.columns(connection, "trace_tags"):
        rows = connection.execute("SELECT DISTINCT value FROM trace_tags WHERE key = ?", (contents.TRACE_PLACE,))
        found |= {str(row[0]) for row in rows if row[0]}
    return sorted(found)


def _update(connection: sqlite3.Connection, table: str, column: str, rowid: int, old: str, new: str) -> int:
    name = quoted(column)
    statement = f"UPDATE {quoted(table)} SET {name} = ? WHERE rowid = ? AND {name} = ?"  # noqa: S608 - quoted
    return connection.execute(statement, (new, rowid, old)).rowcount


def _note(path: str, rows: list[Row]) -> None:
    replace(path, "".join(json.dumps(asdict(row)) + "\n" for row in rows), 0o600)


def _noted(path: str) -> list[Row]:
    if not os.path.exists(path):
        return []
    return [Row(**json.loads(line)) for line in Path(path).read_text("utf-8").splitlines()]
