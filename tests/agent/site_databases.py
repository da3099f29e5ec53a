"""MLflow's two databases, with as much in them as our own code looks at."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

OLD, NEW = "aaa", "bbb"  # revisions of the tracking database
STARTED = 1_760_000_000.0

_TRACKING = """
CREATE TABLE alembic_version (version_num TEXT);
CREATE TABLE experiments (experiment_id INTEGER, name TEXT, creation_time INTEGER);
CREATE TABLE runs (run_uuid TEXT, start_time INTEGER, end_time INTEGER);
CREATE TABLE metrics (run_uuid TEXT, key TEXT, value REAL);
INSERT INTO experiments VALUES (0, 'Default', 0);
"""
_USERS = """
CREATE TABLE alembic_version_auth (version_num TEXT);
INSERT INTO alembic_version_auth VALUES ('u1');
CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT UNIQUE, password_hash TEXT, is_admin BOOLEAN);
"""


def password_hash(password: str) -> str:
    digest = hashlib.scrypt(password.encode(), salt=b"salt", n=512, r=8, p=1, maxmem=1 << 26)
    return "scrypt:512:8:1$salt$" + digest.hex()


def make_tracking(path: Path, runs: list[str], at: float, revision: str = NEW) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(_TRACKING)
        connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        milliseconds = int(at * 1000)
        connection.executemany("INSERT INTO runs VALUES (?, ?, ?)", [(run, milliseconds, None) for run in runs])
        connection.executemany("INSERT INTO metrics VALUES (?, 'loss', 0.5)", [(run,) for run in runs])
        connection.commit()


def make_users(path: Path, users: dict[str, str]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_USERS)
        rows = [(name, password_hash(password), name == "admin") for name, password in users.items()]
        connection.executemany("INSERT INTO users (username, password_hash, is_admin) VALUES (?, ?, ?)", rows)
        connection.commit()


def runs_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT run_uuid FROM runs ORDER BY run_uuid")]


def users_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT username FROM users ORDER BY username")]


def as_a_killed_server_leaves(path: Path, run: str) -> None:
    """Add a run to a tracking database: it is in the `-wal` file beside it only."""
    elsewhere = path.with_name("written")
    shutil.copyfile(path, elsewhere)
    with closing(sqlite3.connect(elsewhere)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("INSERT INTO runs (run_uuid, start_time) VALUES (?, 1)", (run,))
        connection.commit()
        for ending in ("", "-wal", "-shm"):
            shutil.copyfile(f"{elsewhere}{ending}", f"{path}{ending}")
    elsewhere.unlink()
