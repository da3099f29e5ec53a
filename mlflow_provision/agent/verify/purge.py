"""Takes the rows of our own experiments out of MLflow's SQLite databases, while the server runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

# What a run of ours consists of. Children first: the server does not enforce foreign keys, others might.
_BY_RUN = ("latest_metrics", "metrics", "params", "tags")
_BY_EXPERIMENT = ("experiment_tags", "runs", "experiments")
_BUSY_SECONDS = 5.0
_SMALL = 10_000  # rows; a larger table is only looked into where it has an index for it


class _Unexpected(Exception):
    """The database is not as we know it: hands off."""


def purge(tracking: str, auth: str, names: dict[str, str], username: str) -> str:
    """Remove deleted experiments (id → name) from both databases. The answer is "" or why it was not done."""
    try:
        with closing(_open(tracking)) as database:
            tables = _tables(database)
            ids = [int(number) for number, name in names.items() if _is_deleted(database, int(number), name)]
            runs = [
                row
                for number in ids
                for row in _column(database, "SELECT run_uuid FROM runs WHERE experiment_id = ?", number)
            ]
            _check_references(database, tables, ids, runs)
            others = _column(database, "SELECT count(*) FROM experiments WHERE experiment_id != 0")[0] - len(ids)
            # Permissions first: an id is given again once its experiment is gone.
            if auth:
                _forget_permissions(auth, ids, username, unused=others == 0)
            _delete(database, ids, runs)
    except (sqlite3.Error, _Unexpected) as error:
        return str(error)
    return ""


def _open(path: str) -> sqlite3.Connection:
    # mode=rw: never create a database.
    return sqlite3.connect(Path(path).as_uri() + "?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def _column(database: sqlite3.Connection, query: str, *values: object) -> list[Any]:
    return [row[0] for row in database.execute(query, values)]


def _tables(database: sqlite3.Connection) -> dict[str, set[str]]:
    """Columns of every table. Raises _Unexpected unless those we know are there."""
    query = "SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'"
    tables: dict[str, set[str]] = {}
    for table, column in database.execute(query):
        tables.setdefault(table, set()).add(column)
    wanted = {**dict.fromkeys(_BY_RUN, "run_uuid"), **dict.fromkeys(_BY_EXPERIMENT, "experiment_id")}
    strange = [table for table, column in wanted.items() if column not in tables.get(table, ())]
    if strange:
        raise _Unexpected("unknown database schema ({})".format(", ".join(strange)))
    return tables


def _is_deleted(database: sqlite3.Connection, number: int, name: str) -> bool:
    query = "SELECT count(*) FROM experiments WHERE experiment_id = ? AND name = ? AND lifecycle_stage = 'deleted'"
    return bool(_column(database, query, number, name)[0])


def _check_references(
    database: sqlite3.Connection, tables: dict[str, set[str]], ids: list[int], runs: list[int]
) -> None:
    """A newer MLflow may keep more about a run than we know of."""
    for table in sorted(set(tables) - set(_BY_RUN) - set(_BY_EXPERIMENT)):
        for column, values in (("experiment_id", ids), ("run_uuid", runs), ("run_id", runs)):
            if column not in tables[table] or not values or not _quick(database, table, column):
                continue
            marks = ",".join("?" * len(values))
            query = f'SELECT 1 FROM "{table}" WHERE "{column}" IN ({marks}) LIMIT 1'  # noqa: S608 - names from the schema
            if database.execute(query, values).fetchone():
                raise _Unexpected(f"table {table} refers to it")


def _quick(database: sqlite3.Connection, table: str, column: str) -> bool:
    """Can it be searched without holding up the server?"""
    leading = _column(
        database,
        "SELECT i.name FROM pragma_index_list(?) l JOIN pragma_index_info(l.name) i WHERE i.seqno = 0",
        table,
    )
    query = f'SELECT 1 FROM "{table}" LIMIT 1 OFFSET {_SMALL}'  # noqa: S608 - names from the schema
    return column in leading or database.execute(query).fetchone() is None


def _delete(database: sqlite3.Connection, ids: list[int], runs: list[int]) -> None:
    database.execute("BEGIN IMMEDIATE")
    for table in _BY_RUN:
        database.executemany(f"DELETE FROM {table} WHERE run_uuid = ?", [(run,) for run in runs])  # noqa: S608
    for table in _BY_EXPERIMENT:
        database.executemany(f"DELETE FROM {table} WHERE experiment_id = ?", [(number,) for number in ids])  # noqa: S608
    database.execute("COMMIT")


def _forget_permissions(path: str, ids: list[int], username: str, unused: bool) -> None:
    """MLflow lets whoever creates an experiment manage it: by a grant to a role that stands for that user alone."""
    with closing(_open(path)) as database:
        known = set(_column(database, "SELECT name FROM sqlite_master WHERE type = 'table'"))
        users = _column(database, "SELECT id FROM users WHERE username = ?", username)
        if not users:
            return
        database.execute("BEGIN IMMEDIATE")
        if {"roles", "role_permissions", "user_role_assignments"} <= known:  # since MLflow 3.12
            for role in _column(database, "SELECT id FROM roles WHERE name = ?", f"__user_{users[0]}__"):
                where = "role_id = ? AND resource_type = 'experiment' AND resource_pattern = ?"
                rows = [(role, str(number)) for number in ids]
                database.executemany(f"DELETE FROM role_permissions WHERE {where}", rows)  # noqa: S608
                # Nobody has made anything on this server yet, so nobody can be adding to the role at this moment.
                if unused and not _column(database, "SELECT count(*) FROM role_permissions WHERE role_id = ?", role)[0]:
                    database.execute("DELETE FROM user_role_assignments WHERE role_id = ?", (role,))
                    database.execute("DELETE FROM roles WHERE id = ?", (role,))
        if "experiment_permissions" in known:
            query = "DELETE FROM experiment_permissions WHERE user_id = ? AND experiment_id = ?"
            database.executemany(query, [(users[0], str(number)) for number in ids])
        database.execute("COMMIT")
