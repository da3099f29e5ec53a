"""Can the databases be read, written, and do they fit the MLflow that uses them?"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow_provision.agent import processes
from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.databases import inspection
from mlflow_provision.agent.databases import schema as schemas
from mlflow_provision.agent.databases.contents import BESIDE
from mlflow_provision.agent.doctor.checks import owners
from mlflow_provision.agent.doctor.finding import SKIPPED, Finding, Skip, bad, ok, unknown, warn
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.steps import amount

_BUDGET = 3.0  # seconds of looking for damage: where there is no write-ahead log, writers wait meanwhile
_BUSY = 5.0  # seconds: MLflow itself waits 20
_STEPS = 10_000  # of SQLite's machine between two looks at the clock


def readable(patient: Patient) -> Finding:
    """Both are there, can be opened by the service user, and are whole as far as a short look can tell."""
    seen, data = [], {}
    for name, path in patient.databases.items():
        if not os.path.lexists(path):
            return bad(f"{path} is missing", cause="The file was moved or deleted.", no_fix=True)
        problem, note = as_user(patient.user, partial(_looked_into, path))
        if problem and (why := owners.trouble(path, patient) or owners.trouble(os.path.dirname(path), patient)):
            return Finding(SKIPPED, f"{path}: {problem} ({why}): files-owner says more", {"because": "files-owner"})
        if problem:
            return bad(f"{path}: {problem}", database=name, no_fix=True)
        size = sum(os.path.getsize(path + ending) for ending in ("", "-wal") if os.path.exists(path + ending))
        data[name] = size
        seen.append(f"{name} {amount(size)}{note}")
    return ok(", ".join(seen), sizes=data)


def _looked_into(path: str) -> tuple[str, str]:
    """What is wrong with a database; and how far it was looked into, in words that follow its size."""
    if not os.access(path, os.R_OK | os.W_OK):
        return "the server may not read and write it", ""
    if not os.access(os.path.dirname(path), os.W_OK | os.X_OK):
        return "the server may not write beside it, as SQLite must", ""
    if os.path.getsize(path) == 0:
        return "is empty", ""
    end = time.monotonic() + _BUDGET
    try:
        with contextlib.closing(_opened(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.set_progress_handler(lambda: int(time.monotonic() > end), _STEPS)
            said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            return ("" if said == "ok" else f"is damaged: {said}"), " (whole)"
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return "", f" (no damage within {_BUDGET:.0f} s; `backup verify` reads all of it)"
        return str(error), ""
    except sqlite3.Error as error:
        return str(error), ""


def locked(patient: Patient) -> Finding:
    """Nobody keeps the databases for themselves."""
    for path in patient.databases.values():
        problem = as_user(patient.user, partial(_can_be_written, path))
        if problem:
            holders = _strangers(patient, path) or "the server itself, or nobody that can be seen"
            return bad(f"{path}: {problem} for {_BUSY:.0f} s; it is open in {holders}")
    others = [
        f"{os.path.basename(path)}: {who}" for path in patient.databases.values() if (who := _strangers(patient, path))
    ]
    if others:
        return warn(f"not only the server uses them: {'; '.join(others)}")
    return ok("both can be written to")


def _can_be_written(path: str) -> str:
    """Take the right to write for a moment, write nothing."""
    try:
        with contextlib.closing(_opened(path, "rw")) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        return str(error)
    return ""


def _strangers(patient: Patient, path: str) -> str:
    """Other programs that have a database open; backups of ours look into it now and then."""
    mine = {os.getpid(), *patient.service.pids()}
    pids = [pid for pid in processes.who_has_open([path, *(path + ending for ending in BESIDE)]) if pid not in mine]
    return ", ".join(processes.name(pid) for pid in pids if not _is_ours(pid))


def _is_ours(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"agent.zip" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return True  # it has ended


def schema(patient: Patient) -> Finding:
    """The revision that each database has is the one that the release wants."""
    release = os.path.realpath(patient.data["venv"])
    seen = []
    for name, path in patient.databases.items():
        known, newest = schemas.known(release, name)
        if not known:
            raise Skip(f"no migrations of MLflow are in {release}")
        found = as_user(patient.user, partial(_revision, path))
        if not found:
            return unknown(f"{name} does not say which revision its schema has")
        if found in newest:
            seen.append(f"{name} {found}")
            continue
        data: dict[str, Any] = {"database": name, "revision": found, "wanted": sorted(newest)}
        if found in known:
            return bad(
                f"{name} has the older schema {found}; this MLflow wants {', '.join(sorted(newest))}",
                cause="The database was not migrated when MLflow was changed.",
                **data,
            )
        return bad(
            f"{name} has the schema {found}, which this MLflow does not know",
            cause="A newer MLflow has migrated the database; schemas never go back.",
            **data,
        )
    return ok(", ".join(seen))


def _revision(path: str) -> str:
    with contextlib.closing(_opened(path)) as connection:
        return inspection.schema(connection)


def _opened(path: str, mode: str = "ro") -> sqlite3.Connection:
    uri = f"file:{quote(path)}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY, isolation_level=None)
