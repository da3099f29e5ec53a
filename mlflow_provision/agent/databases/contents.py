"""The databases of the old server: read while it runs, copied when it does not, and compared row by row."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Callable, Iterator
from urllib.parse import quote

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.protocol import AgentError

BESIDE = ("-journal", "-wal", "-shm")
# What stays the same in every schema that MLflow has had: the rest of a migrated database is the migration's business.
_CORE = {
    "experiments": ("experiment_id", "name", "lifecycle_stage"),
    "runs": ("run_uuid", "name", "status", "start_time", "end_time", "lifecycle_stage", "experiment_id"),
    "params": ("run_uuid", "key", "value"),
    "metrics": ("run_uuid", "key", "value", "timestamp", "step", "is_nan"),
    "tags": ("run_uuid", "key", "value"),
    "registered_models": ("name", "description"),
    "model_versions": ("name", "version", "current_stage", "run_id"),
    "users": ("username", "password_hash", "is_admin"),
}
# Where artifacts are: rewritten when local ones move.
PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
    "workspaces": ("default_artifact_root",),
}
TRACE_PLACE = "mlflow.artifactLocation"


@contextlib.contextmanager
def reading(path: str, live: bool = False) -> Iterator[sqlite3.Connection]:
    """A database that is only read; one that is not `live` is not even locked, and nothing appears beside it."""
    uri = f"file:{quote(path)}?" + ("mode=ro" if live else "mode=ro&immutable=1")
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=20)) as connection:
            yield connection
    except sqlite3.Error as error:
        hint = f"see whether the file is what you think: sudo file {path}"
        raise AgentError(f"the old server's database {path} cannot be read: {error}", hint) from None


def looked_up(path: str, user: str, live: bool, look: Callable[[sqlite3.Connection], Any]) -> Any:
    """What `look` finds in a database of the old server, as its own user: so nothing of root's appears beside it."""

    def action() -> Any:
        with reading(path, live) as connection:
            return look(connection)

    return as_user(user, action)


def tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [row[0] for row in rows if not row[0].startswith("sqlite_")]


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """The ordinary columns of a table; [] when there is no such table."""
    return [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many experiments, runs, models and users there are, of the tables that are there."""
    wanted = {"experiments": "experiments", "runs": "runs", "models": "registered_models", "users": "users"}
    there = set(tables(connection))
    return {
        word: connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]  # noqa: S608 - names of ours
        for word, table in wanted.items()
        if table in there
    }


def held(connection: sqlite3.Connection) -> dict[str, Any]:
    """What a tracking database holds, as `readable` tells it of a server: experiments, runs, models."""
    experiments = {str(row[0]): row[1] for row in connection.execute("SELECT experiment_id, name FROM experiments")}
    runs = {row[0]: [0, 0] for row in connection.execute("SELECT run_uuid FROM runs")}
    for position, table in enumerate(("params", "latest_metrics")):
        query = f"SELECT run_uuid, count(*) FROM {table} GROUP BY run_uuid"  # noqa: S608 - names of ours
        for run, count in connection.execute(query):
            if run in runs:
                runs[run][position] = count
    models = []
    if columns(connection, "registered_models"):
        models = sorted(row[0] for row in connection.execute("SELECT name FROM registered_models"))
    return {"experiments": experiments, "runs": runs, "models": models}


def runs_since(connection: sqlite3.Connection, moment: float) -> list[str]:
    """The runs that began after a moment in seconds."""
    query = "SELECT run_uuid FROM runs WHERE start_time >= ?"
    return [row[0] for row in connection.execute(query, (int(moment * 1000),))]


def revisions(connection: sqlite3.Connection) -> list[str]:
    """The versions of the schema, as Alembic notes them."""
    found = []
    for table in tables(connection):
        if table.startswith("alembic_version"):
            found += [f"{table}={row[0]}" for row in connection.execute(f'SELECT version_num FROM "{table}"')]  # noqa: S608
    return found


def take(source: str, target: str) -> str:
    """A complete, consistent copy of a database that nobody uses any more; returns its sha256.

    What a killed server left beside the file belongs to it. The original is opened only where nothing is left: SQLite
    would write into it otherwise.
    """
    partial = target + ".partial"
    scratch = target + ".scratch"
    remove(partial, scratch)
    left = [
        ending
        for ending in ("-journal", "-wal")
        if os.path.exists(source + ending) and os.path.getsize(source + ending)
    ]
    if left:
        for ending in ["", *left]:
            shutil.copyfile(source + ending, scratch + ending)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        if left:
            with contextlib.closing(sqlite3.connect(scratch, timeout=20)) as connection:
                _backup(connection, partial)
        else:
            with reading(source) as connection:
                _backup(connection, partial)
    except sqlite3.Error as error:
        raise AgentError(f"the old server's database {source} cannot be copied: {error}") from None
    finally:
        remove(scratch)
    os.replace(partial, target)
    return sha256(target)


def _backup(source: sqlite3.Connection, target: str) -> None:
    with contextlib.closing(sqlite3.connect(target)) as connection:
        source.backup(connection)  # in one step
        problem = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if problem != "ok":
        raise AgentError(f"the copy of the old server's database is damaged: {problem}", "mend the old one first")


def remove(*paths: str) -> None:
    """Delete databases and what SQLite keeps beside them."""
    for path in paths:
        for ending in ("", *BESIDE):
            Path(path + ending).unlink(missing_ok=True)


def sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def fingerprint(path: str, columns_of: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Table → number of rows, and a sum over the hashes of all rows: the same for the same rows in any order."""
    found: dict[str, list[Any]] = {}
    with reading(path) as connection:
        for table, names in columns_of.items():
            listed = ", ".join(f'"{name}"' for name in names)
            where = f" WHERE key != '{TRACE_PLACE}'" if table == "trace_tags" else ""
            count = total = 0
            for row in connection.execute(f'SELECT {listed} FROM "{table}"{where}'):  # noqa: S608 - names from the schema
                count += 1
                total += int.from_bytes(hashlib.blake2b(repr(row).encode(), digest_size=8).digest(), "big")
            found[table] = [count, total % (1 << 64)]
    return found


def comparable(before: str, after: str) -> dict[str, list[str]]:
    """Table → the columns that must not have changed between two databases: all of them under one schema, else those
    that every schema has. Places of artifacts are left out: they move."""
    with reading(before) as old, reading(after) as new:
        same = revisions(old) == revisions(new)
        found = {}
        for table in tables(old):
            if table.startswith("alembic_version") or not (same or table in _CORE):
                continue
            there = columns(new, table)
            kept = [
                name
                for name in columns(old, table)
                if name in there and name not in PLACES.get(table, ()) and (same or name in _CORE[table])
            ]
            if kept:
                found[table] = kept
        return found


def differences(before: str, after: str) -> list[str]:
    """What a copy has lost or changed, in words; [] when all rows are there."""
    names = comparable(before, after)
    old, new = fingerprint(before, names), fingerprint(after, names)
    return [
        f"{table}: {old[table][0]} rows before, {new[table][0]} after"
        + ("" if old[table][0] != new[table][0] else ", with other contents")
        for table in names
        if old[table] != new[table]
    ]
