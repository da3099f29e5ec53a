"""A copy of a database is whole and of one moment, whoever writes meanwhile; else it is an error. It is never empty."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_provision.agent.databases import inspection, snapshot
from mlflow_provision.agent.databases.snapshot import needed, refuse_what_is_none, refuse_without_room
from mlflow_provision.agent.protocol import AgentError
from tests.agent.backup_source import TRACKING
from tests.agent.backup_source import database as made
from tests.agent.converge import needs_root

# Acknowledges every commit with a line: its number, and how long it took.
WRITER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=20)
number = 0
while True:
    began = time.monotonic()
    connection.execute("INSERT INTO marks (number, noise) VALUES (?, hex(randomblob(200)))", (number,))
    connection.commit()
    print(number, time.monotonic() - began, flush=True)
    number += 1
"""
# Stops in the middle of a transaction that has reached the file already, as a server that is killed would.
KILLED = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 5")
connection.execute("PRAGMA synchronous = OFF")
connection.execute("INSERT INTO marks (number) VALUES (-1)")
connection.commit()
for number in range(20000):
    connection.execute("INSERT INTO marks (number, noise) VALUES (?, hex(randomblob(200)))", (1000000 + number,))
connection.execute("UPDATE marks SET noise = 'lost'")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tracking database of some megabytes."""
    path = tmp_path / "data" / "mlflow.db"
    path.parent.mkdir()
    filled(path, "delete")
    return path


def filled(path: Path, mode: str) -> None:
    made(path, TRACKING + "CREATE TABLE marks (number INTEGER PRIMARY KEY, noise TEXT);", mode)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "INSERT INTO metrics VALUES ('loss', 0.5, ?, hex(randomblob(16)))"
        connection.executemany(query, ((number,) for number in range(100_000)))
        connection.commit()


def copied(source: Path, tmp_path: Path, name: str = "mlflow.db") -> Path:
    target = tmp_path / "copy.db"
    target.unlink(missing_ok=True)
    snapshot.snapshot(name, str(source), str(target), lambda done, total: None, lambda: False)
    return target


def numbers(path: Path) -> set[int]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return {row[0] for row in connection.execute("SELECT number FROM marks")}


class Writer:
    """A process that writes as fast as it can; `acknowledged` are its commits that it knows of."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        self.acknowledged: set[int] = set()
        self.longest = 0.0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.endswith("\n"):  # the last may have been cut when it was killed
                number, seconds = line.split()
                self.acknowledged.add(int(number))
                self.longest = max(self.longest, float(seconds))

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 30
        while len(self.acknowledged) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout
        self._process.stdout.close()


@pytest.fixture(params=["delete", "wal"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Writer]]:
    """A database in the mode that MLflow uses, or in the other that people set, with a busy writer."""
    path = tmp_path / "busy.db"
    filled(path, request.param)
    writer = Writer(path)
    try:
        yield path, writer
    finally:
        writer.end()


def test_under_a_busy_writer_it_has_all_that_was_acknowledged_and_no_gap(
    written: tuple[Path, Writer], tmp_path: Path
) -> None:
    path, writer = written
    for _ in range(5):
        writer.wait_for(len(writer.acknowledged) + 20)
        before = set(writer.acknowledged)
        found = numbers(copied(path, tmp_path))
        assert before <= found
        assert found == set(range(len(found)))  # of one moment
    assert writer.longest < 5


def test_the_writer_goes_on_during_a_long_copy_in_wal_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one read transaction from the first page to the last, so it need not begin anew when somebody writes."""
    path = tmp_path / "busy.db"
    filled(path, "wal")
    monkeypatch.setattr(snapshot, "_STEP", 200_000)
    writer = Writer(path)
    try:
        writer.wait_for(20)
        before: list[int] = []

        def slow(done: int, total: int) -> None:
            before.append(len(writer.acknowledged))
            time.sleep(0.02)

        target = tmp_path / "copy.db"
        snapshot.snapshot("mlflow.db", str(path), str(target), slow, lambda: False)
    finally:
        writer.end()
    found = numbers(target)
    assert len(before) > 10
    assert before[-1] > len(found) >= 20  # it wrote meanwhile, and that is not in the copy
    assert found == set(range(len(found)))


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_what_a_killed_server_left_half_done_is_not_in_it(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "killed.db"
    filled(path, mode)
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert Path(f"{path}-{'wal' if mode == 'wal' else 'journal'}").stat().st_size > 0
    assert numbers(copied(path, tmp_path)) == {-1}


@pytest.mark.parametrize("page_size", [512, 1024, 8192, 65536])
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_every_page_size(tmp_path: Path, page_size: int, mode: str) -> None:
    path = tmp_path / "odd.db"
    made(path, TRACKING, mode, page_size)
    copy = copied(path, tmp_path)
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA page_size").fetchone()[0] == page_size
        assert connection.execute("SELECT count(*) FROM experiments").fetchone()[0] == 2


def test_odd_tables_come_along(tmp_path: Path) -> None:
    path = tmp_path / "it's 100% odd?#.db"
    made(
        path,
        TRACKING
        + """
        CREATE TABLE "a ""quoted"" name" (x);
        INSERT INTO "a ""quoted"" name" VALUES (1), (2);
        CREATE TABLE "sqliteish" (x);
        CREATE TABLE "naïve ☃" (x PRIMARY KEY) WITHOUT ROWID;
        INSERT INTO "naïve ☃" VALUES ('x');
        CREATE TABLE computed (a INTEGER, b INTEGER GENERATED ALWAYS AS (a * 2));
        INSERT INTO computed (a) VALUES (4);
        CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT);
        INSERT INTO counted VALUES (7);
        CREATE VIRTUAL TABLE words USING fts5(text);
        INSERT INTO words VALUES ('hello');
        CREATE VIEW seen AS SELECT * FROM no_such_table;
        CREATE TRIGGER watched AFTER INSERT ON computed BEGIN DELETE FROM computed; END;
        """,
    )
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE holes (x)")
        connection.executemany("INSERT INTO holes (rowid, x) VALUES (?, ?)", [(5, "a"), (900, "b")])
        connection.commit()
        dump = list(connection.iterdump())
    copy = copied(path, tmp_path)
    found = inspection.content(str(copy), inspection.THOROUGH, lambda: False)
    assert found.schema == "1b5f0d9ad7c1"
    expected = {'a "quoted" name': 2, "naïve ☃": 1, "computed": 1, "sqliteish": 0, "holes": 2, "experiments": 2}
    assert expected.items() <= found.rows.items()
    assert not {"words", "seen", "sqlite_sequence"} & set(found.rows)
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert list(connection.iterdump()) == dump
        assert [row[0] for row in connection.execute("SELECT rowid FROM holes")] == [5, 900]


def test_it_is_closed_to_others_and_nothing_appears_beside_either(source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()
    copy = copied(source, tmp_path)
    inspection.content(str(copy), inspection.QUICK, lambda: False)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in source.parent.iterdir()] == ["mlflow.db"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "data"]
    assert source.read_bytes() == before


def test_nobody_is_followed_to_a_file_that_is_there_already(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        snapshot.snapshot("mlflow.db", str(source), str(tmp_path / "copy.db"), lambda *_: None, lambda: False)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"the tracking database .*mlflow\.db is missing"),
        (b"", "is empty: there is nothing in it to back up"),
        (b"not a database at all" * 1000, "is not an SQLite database"),
        (b"SQLite format 3\0" + b"\xff" * 5000, "cannot be copied|is damaged"),
        (b"SQLite format 3\0", "is damaged: .*"),
    ],
)
def test_what_is_no_database_is_an_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "mlflow.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AgentError, match=message) as caught:
        copied(path, tmp_path)
    assert (caught.value.kind, bool(caught.value.hint)) == ("source", True)
    assert path.exists() == (content is not None)  # nothing is made where nothing was


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="is missing"):
        refuse_what_is_none("mlflow.db", str(tmp_path))


def test_a_database_without_tables_is_an_error(tmp_path: Path) -> None:
    made(tmp_path / "mlflow.db", "CREATE TABLE gone (x); DROP TABLE gone;")
    with pytest.raises(AgentError, match=r"mlflow\.db is damaged: it holds no tables") as caught:
        copied(tmp_path / "mlflow.db", tmp_path)
    assert caught.value.kind == "source"


def test_a_corrupt_page_is_found_in_the_copy(source: Path, tmp_path: Path) -> None:
    with source.open("r+b") as file:
        file.seek(40 * 4096)
        file.write(b"\xa5" * 4096)
    with pytest.raises(AgentError) as caught:
        inspection.content(str(copied(source, tmp_path)), inspection.QUICK, lambda: False)
    assert caught.value.kind == "damaged"


def test_a_truncated_database_is_found(source: Path, tmp_path: Path) -> None:
    os.truncate(source, source.stat().st_size // 2)
    with pytest.raises(AgentError, match=r"malformed|damaged|out of order|invalid page"):
        inspection.content(str(copied(source, tmp_path)), inspection.QUICK, lambda: False)


def test_a_lock_is_waited_for(source: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(source, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(1.5, other.rollback).start()
        started = time.monotonic()
        copied(source, tmp_path)
        assert time.monotonic() - started > 1


def test_a_lock_that_stays_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_PATIENCE", 0.3)
    with contextlib.closing(sqlite3.connect(source)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(AgentError, match="has been locked for") as caught:
            copied(source, tmp_path)
    assert (caught.value.kind, "fuser" in caught.value.hint) == ("busy", True)


def test_a_stop_ends_the_wait_for_a_lock(source: Path, tmp_path: Path) -> None:
    asked = threading.Event()
    threading.Timer(0.3, asked.set).start()
    with contextlib.closing(sqlite3.connect(source)) as other:
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        with pytest.raises(AgentError) as caught:
            snapshot.snapshot("mlflow.db", str(source), str(tmp_path / "c"), lambda *_: None, asked.is_set)
    assert (caught.value.kind, time.monotonic() - started < 2.5) == ("interrupted", True)


def test_a_stop_ends_the_copy_and_lets_the_source_go(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_STEP", 4096)
    asked = threading.Event()

    def first(done: int, total: int) -> None:
        assert done < total
        asked.set()

    with pytest.raises(AgentError) as caught:
        snapshot.snapshot("mlflow.db", str(source), str(tmp_path / "copy.db"), first, asked.is_set)
    assert caught.value.kind == "interrupted"
    with contextlib.closing(sqlite3.connect(source, timeout=2)) as other:
        other.execute("BEGIN EXCLUSIVE")


def test_a_stop_ends_a_check(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def endless(connection: sqlite3.Connection) -> dict[str, int]:
        asked.set()
        query = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
        connection.execute(query).fetchone()
        return {}

    monkeypatch.setattr(inspection, "rows", endless)
    started = time.monotonic()
    with pytest.raises(AgentError) as caught:
        inspection.content(str(source), inspection.QUICK, asked.is_set)
    assert (caught.value.kind, time.monotonic() - started < 3) == ("interrupted", True)


def test_room_is_looked_for_before_anything_is_copied(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = needed([str(source), str(tmp_path / "missing.db")])
    assert wanted == source.stat().st_size
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=wanted + (100 << 20)))
    with pytest.raises(AgentError, match=r"not enough room on the host .* MB are free") as caught:
        refuse_without_room(wanted, str(tmp_path))
    assert (caught.value.kind, f"df -h {tmp_path}" in caught.value.hint) == ("disk", True)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=wanted + (200 << 20)))
    refuse_without_room(wanted, str(tmp_path))


@needs_root
def test_a_disk_that_becomes_full_is_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path / "small"], check=True)
    try:
        with pytest.raises(AgentError, match="the disk became full while the tracking database was copied") as caught:
            copied(source, tmp_path / "small")
    finally:
        subprocess.run(["umount", tmp_path / "small"], check=True)
    assert (caught.value.kind, "df -h" in caught.value.hint) == ("disk", True)


def test_a_file_copy_would_not_do(tmp_path: Path) -> None:
    """In the mode where a copy of the file looks whole, it misses what was acknowledged."""
    path = tmp_path / "busy.db"
    filled(path, "wal")
    with contextlib.closing(sqlite3.connect(path)) as writer:
        writer.execute("INSERT INTO marks (number) VALUES (1)")
        writer.commit()
        shutil.copyfile(path, tmp_path / "plain.db")
        assert numbers(tmp_path / "plain.db") == set()
        assert numbers(copied(path, tmp_path)) == {1}
