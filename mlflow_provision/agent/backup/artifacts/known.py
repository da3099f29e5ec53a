"""What the last backup holds and what this one adds: in a scratch database on disk, so that memory stays flat."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
from typing import Any, Collection, Iterable, Iterator, NamedTuple

from mlflow_provision.agent.backup.artifacts.index import FILE
from mlflow_provision.agent.backup.artifacts.tree import Found
from mlflow_provision.agent.protocol import AgentError

_CACHE = 16_000  # KiB


class Content(NamedTuple):
    """Where content is: the id of a pack, and the number of an entry in it."""

    sha256: str
    pack: str
    entry: int


def scratch_database(path: str, script: str) -> sqlite3.Connection:
    """A database that nobody needs when we have ended: nothing is synced, nothing can be rolled back."""
    if os.path.exists(path):
        os.unlink(path)
    # Whoever stores a stream may take it from another thread, one at a time.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA cache_size = -{_CACHE}")
    connection.executescript(script)
    connection.execute("BEGIN")
    return connection


@contextlib.contextmanager
def room_in(scratch: str) -> Iterator[None]:
    """What goes wrong with databases in this folder is told as AgentError of kind "disk"."""
    try:
        yield
    except sqlite3.Error as error:
        hint = f"free some space on the host, then run the same command again: df -h {shlex.quote(scratch)}"
        raise AgentError(f"the scratch folder cannot be used: {error}: {scratch}", hint, "disk") from None


class Known:
    """The files of the last backup by path, all content by its sum, and what has changed since."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._database = scratch_database(
            path,
            """
            CREATE TABLE previous (
                path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT, pack TEXT, entry INTEGER
            ) WITHOUT ROWID;
            CREATE TABLE contents (sha256 TEXT PRIMARY KEY, size INTEGER, pack TEXT, entry INTEGER) WITHOUT ROWID;
            CREATE INDEX sizes ON contents (size);
            CREATE TABLE changed (path BLOB, size INTEGER);
            """,
        )
        self.files = 0  # of the last backup

    def learn(self, entries: Iterable[dict[str, Any]], packs: Collection[str]) -> None:
        """The last backup: what is in one of these packs need not be stored again."""
        for entry in entries:
            if entry["kind"] != FILE:
                continue
            self.files += 1
            if entry["pack"] not in packs:
                continue
            self.add(Content(entry["sha256"], entry["pack"], entry["entry"]), entry["size"])
            if not entry["fresh"]:
                names = ("path", "size", "mtime_ns", "sha256", "pack", "entry")
                row = [entry[name] for name in names]
                self._database.execute("INSERT OR REPLACE INTO previous VALUES (?, ?, ?, ?, ?, ?)", row)

    def unchanged(self, found: Found) -> Content | None:
        """The content of a file that is as it was in the last backup, by its size and time."""
        query = "SELECT sha256, pack, entry FROM previous WHERE path = ? AND size = ? AND mtime_ns = ?"
        return self._one(query, found.path, found.size, found.mtime_ns)

    def content(self, sha256: str) -> Content | None:
        """Where content with this sum is."""
        return self._one("SELECT sha256, pack, entry FROM contents WHERE sha256 = ?", sha256)

    def has_size(self, size: int) -> bool:
        """Is there any content of this size? If not, nothing needs to be read to know that it is new."""
        return bool(self._database.execute("SELECT 1 FROM contents WHERE size = ? LIMIT 1", (size,)).fetchone())

    def add(self, content: Content, size: int) -> None:
        """There is content here from now on."""
        row = (content.sha256, size, content.pack, content.entry)
        self._database.execute("INSERT OR IGNORE INTO contents VALUES (?, ?, ?, ?)", row)

    def note_changed(self, found: Found) -> None:
        """A file that must be read."""
        self._database.execute("INSERT INTO changed VALUES (?, ?)", (found.path, found.size))

    def changed(self, large: int) -> Iterator[bytes]:
        """The paths that were noted; those of at least `large` bytes last."""
        for row in self._database.execute("SELECT path FROM changed ORDER BY size >= ?, rowid", (large,)):
            yield bytes(row[0])

    def close(self) -> None:
        self._database.close()
        os.unlink(self._path)

    def __enter__(self) -> Known:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def _one(self, query: str, *values: object) -> Content | None:
        row = self._database.execute(query, values).fetchone()
        return Content(*row) if row else None
