"""A copy of a database as it was at one moment, while others go on writing to it: SQLite's online backup.

One read transaction is held from the first page to the last. So it never has to begin anew, however busy the writers
are, and can still tell how far it is and stop between two steps, which a copy in one step cannot.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from typing import Callable, Iterable

from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.databases.inspection import opened
from mlflow_provision.agent.protocol import AgentError

SOURCE = "source"  # of the AgentError about a database that is missing, empty or damaged
DISK = "disk"  # of the one about too little room
TITLES = {"mlflow.db": "tracking database", "basic_auth.db": "users"}
_MAGIC = b"SQLite format 3\0"
_STEP = 8 << 20  # bytes
_SPARE = 128 << 20  # bytes that stay free: the server writes to the same disk
_PATIENCE = 60.0  # seconds to wait for a lock; MLflow's writers wait for 20
_RESTORE = "the last good backup brings it back: mlflow-provision restore --latest"


def title(name: str) -> str:
    """What people call a database: "tracking database"."""
    return TITLES.get(name, name)


def refuse_what_is_none(name: str, path: str) -> None:
    """Raise AgentError of kind "source" unless there is a database that could be backed up."""
    what = f"the {title(name)} {path}" if name in TITLES else path
    if not os.path.isfile(path):
        raise AgentError(f"{what} is missing", f"see what is there: sudo ls -la {os.path.dirname(path)}", SOURCE)
    with open(path, "rb") as file:
        head = file.read(len(_MAGIC))
    if not head:
        raise AgentError(f"{what} is empty: there is nothing in it to back up", _RESTORE, SOURCE)
    if head != _MAGIC:
        raise AgentError(f"{what} is not an SQLite database", _RESTORE, SOURCE)


def refuse_without_room(needed: int, folder: str) -> None:
    """Raise AgentError of kind "disk" unless so many bytes fit into a folder, with room to spare."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise AgentError(
            f"not enough room on the host for a copy of the databases: {needed / 1e6:.0f} MB are needed, and "
            f"{_SPARE / 1e6:.0f} MB that stay free for the server; {free / 1e6:.0f} MB are free",
            _room(folder),
            DISK,
        )


def needed(paths: Iterable[str]) -> int:
    """How many bytes copies of these databases take, at most."""
    return sum(_size(path + ending) for path in paths for ending in ("", "-wal"))


def snapshot(
    name: str, source: str, target: str, progress: Callable[[int, int], object], stopping: Callable[[], bool]
) -> None:
    """Copy the database at `source` to the new file `target`. `progress` hears how many of how many bytes are done."""
    refuse_what_is_none(name, source)
    _warm(source, stopping)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    deadline = time.monotonic() + _PATIENCE
    try:
        # Not read-only: as at a server's start, what a killed writer left half-done is taken back first.
        opened(source, "mode=rw", lambda database: _copy(database, target, progress, stopping, deadline), stopping)
    except sqlite3.Error as error:
        raise _in_words(error, name, source, target) from None


def _copy(
    source: sqlite3.Connection,
    target: str,
    progress: Callable[[int, int], object],
    stopping: Callable[[], bool],
    deadline: float,
) -> None:
    _begin(source, deadline, stopping)
    if not source.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]:
        raise sqlite3.DatabaseError("it holds no tables")
    page: int = source.execute("PRAGMA page_size").fetchone()[0]

    def step(status: int, remaining: int, total: int) -> None:
        raise_if(stopping)
        progress((total - remaining) * page, total * page)

    with contextlib.closing(sqlite3.connect(target)) as copy:
        # It is thrown away when anything goes wrong: nothing need be journaled or brought to the disk.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        source.backup(copy, pages=max(1, _STEP // page), progress=step, sleep=0.01)


def _begin(source: sqlite3.Connection, deadline: float, stopping: Callable[[], bool]) -> None:
    """From here on the source is what it is now."""
    while True:
        try:
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            source.execute("ROLLBACK")
            raise_if(stopping)


def _warm(path: str, stopping: Callable[[], bool]) -> None:
    """Read the source once before it is locked: a writer then waits for memory, not for the disk. What would not fit
    into memory is left alone."""
    if _size(path) > _available() / 2:
        return
    # No connection of ours is open here: closing any file of it would take away its locks.
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            raise_if(stopping)


def _available() -> int:
    with contextlib.suppress(OSError), open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _in_words(error: sqlite3.Error, name: str, source: str, target: str) -> AgentError:
    said = str(error)
    if "disk is full" in said:
        return AgentError(
            f"the disk became full while the {title(name)} was copied", _room(os.path.dirname(target)), DISK
        )
    if "locked" in said:
        message = f"the {title(name)} {source} has been locked for {_PATIENCE:.0f} s: another program does not let go"
        return AgentError(message, f"see which one: sudo fuser -v {source}", "busy")
    if "I/O error" in said or "unable to open" in said:
        hint = f"see what the system says of its disk: sudo dmesg | tail; ls -la {os.path.dirname(source)}"
        return AgentError(f"the {title(name)} {source} cannot be copied to {target}: {said}", hint, SOURCE)
    return damaged(name, source, said)


def damaged(name: str, source: str, why: str) -> AgentError:
    """The error about a database on this host that is not whole."""
    return AgentError(f"the {title(name)} {source} is damaged: {why}", _RESTORE, SOURCE)


def _room(folder: str) -> str:
    return f"free some space on the host, then run the same command again: df -h {folder}"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
