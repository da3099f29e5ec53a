"""The tracking database: in write-ahead mode from the start, and with its rows when it was there before."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.sqlite_database import SqliteDatabase
from tests.agent.converge import found, mend, needs_root, snapshot


@pytest.fixture
def database(tmp_path: Path) -> SqliteDatabase:
    return SqliteDatabase("database", str(tmp_path / "mlflow.db"))


def ask(database: SqliteDatabase, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database.path)) as connection:
        return connection.execute(query).fetchall()


def fill(database: SqliteDatabase) -> None:
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("CREATE TABLE runs (name TEXT)")
        connection.executemany("INSERT INTO runs VALUES (?)", [(str(number),) for number in range(1000)])


def test_a_missing_database_is_created_for_its_owner_alone(database: SqliteDatabase) -> None:
    assert mend(database) == "create, write-ahead mode"
    assert ask(database, "PRAGMA journal_mode") == [("wal",)]
    assert Path(database.path).stat().st_mode & 0o777 == 0o600


def test_an_empty_file_is_a_missing_database(database: SqliteDatabase) -> None:
    Path(database.path).touch()
    assert mend(database) == "create, write-ahead mode"


def test_switching_keeps_every_row(database: SqliteDatabase) -> None:
    fill(database)
    assert mend(database) == "switch to write-ahead mode"
    assert ask(database, "SELECT count(*), count(DISTINCT name) FROM runs") == [(1000, 1000)]
    assert ask(database, "PRAGMA journal_mode") == [("wal",)]


def test_write_ahead_mode_stays_when_others_open_it(database: SqliteDatabase) -> None:
    mend(database)
    fill(database)
    assert found(database) == ""


def test_a_mode_switched_back_by_hand_is_seen_and_mended(database: SqliteDatabase) -> None:
    mend(database)
    fill(database)
    assert ask(database, "PRAGMA journal_mode=delete") == [("delete",)]
    assert mend(database) == "switch to write-ahead mode"
    assert ask(database, "SELECT count(*) FROM runs") == [(1000,)]


def test_checking_writes_nothing(database: SqliteDatabase, tmp_path: Path) -> None:
    mend(database)
    before = snapshot(tmp_path, times=True)
    assert found(database) == ""
    assert snapshot(tmp_path, times=True) == before


@pytest.mark.parametrize("content", [b"x", b"no database at all, but long enough"])
def test_what_is_no_database_is_left_alone(database: SqliteDatabase, content: bytes) -> None:
    Path(database.path).write_bytes(content)
    with pytest.raises(AgentError, match="not a SQLite database") as caught:
        found(database)
    assert "backup" in caught.value.hint
    assert Path(database.path).read_bytes() == content


def test_a_database_somebody_writes_to_is_an_error_that_says_so(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.05))
    with closing(connect(database.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(AgentError, match="locked"):
            database.apply(Context())
        writer.execute("ROLLBACK")
    monkeypatch.undo()
    mend(database)


@needs_root
def test_nothing_of_it_ever_belongs_to_root(open_folder: Path) -> None:
    data = open_folder / "data"
    data.mkdir()
    shutil.chown(data, "daemon", "daemon")
    mend(SqliteDatabase("database", str(data / "mlflow.db"), "daemon"))
    assert {path.owner() for path in data.iterdir()} == {"daemon"}


@needs_root
def test_what_goes_wrong_as_its_owner_is_told(open_folder: Path) -> None:
    with pytest.raises(AgentError, match="Permission denied"):
        SqliteDatabase("database", str(open_folder / "mlflow.db"), "daemon").apply(Context())
