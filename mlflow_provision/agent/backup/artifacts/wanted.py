"""The index of a backup in a scratch database: which files are wanted of which pack, without all of it in memory."""

from __future__ import annotations

import os
from typing import Any, Callable, Iterator, NamedTuple

from mlflow_provision.agent.backup.artifacts import index
from mlflow_provision.agent.backup.artifacts.known import scratch_database
from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.backup.codec import Key, damaged, load_stream
from mlflow_provision.agent.backup.manifest import Manifest
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.protocol import AgentError

_SCRIPT = """
CREATE TABLE files (
    id INTEGER PRIMARY KEY, path BLOB, size INTEGER, mtime_ns INTEGER, mode INTEGER,
    sha256 TEXT, pack TEXT, entry INTEGER, needed INTEGER DEFAULT 1
);
CREATE TABLE folders (id INTEGER PRIMARY KEY, path BLOB, mode INTEGER, mtime_ns INTEGER, made INTEGER DEFAULT 0);
CREATE TABLE links (path BLOB, target BLOB);
"""
_COLUMNS = "id, path, size, mtime_ns, mode, sha256, pack, entry"


class File(NamedTuple):
    """A file of the index, with a number of its own."""

    id: int
    path: bytes
    size: int
    mtime_ns: int
    mode: int
    sha256: str
    pack: str
    entry: int


class Wanted:
    """Raises AgentError of kind "damaged" for an index that is not that of the manifest."""

    def __init__(self, store: Store, manifest: Manifest, key: Key, scratch: str, stopping: Callable[[], bool]) -> None:
        member = index.member_of(manifest)
        if not member:
            raise AgentError(f"the backup {manifest.id} has no artifacts", "take another one: `backup list`", "damaged")
        path = os.path.join(scratch, "wanted.jsonl")
        with open(path, "wb") as file:
            load_stream(store, member, file.write, key, stopping)
        self._path = os.path.join(scratch, "wanted.db")
        self.database = scratch_database(self._path, _SCRIPT)
        try:
            for number, entry in enumerate(index.entries(path, f"{store.title}/{member.key}")):
                if not number % 1000:
                    raise_if(stopping)
                self._add(entry)
            self.database.execute("CREATE INDEX places ON files (pack, entry)")
            self.files, self.bytes = self.database.execute("SELECT COUNT(*), TOTAL(size) FROM files").fetchone()
            self.bytes = int(self.bytes)
            if manifest.artifacts != {"files": self.files, "bytes": self.bytes}:
                raise damaged(store, member, "it is not the index of this backup")
        except BaseException:
            self.close()
            raise
        finally:
            os.unlink(path)

    def contents(self, pack: str) -> Iterator[tuple[int, int, str]]:
        """Number, size and sum of all that should be in a pack, in its order."""
        query = "SELECT DISTINCT entry, size, sha256 FROM files WHERE pack = ? ORDER BY entry"
        return self.database.execute(query, (pack,))

    def packs(self) -> dict[str, int]:
        """How many files want something of each pack; "" is that of empty files."""
        return dict(self.database.execute("SELECT pack, COUNT(*) FROM files WHERE needed GROUP BY pack"))

    def all_files(self) -> Iterator[File]:
        return map(File._make, self.database.execute(f"SELECT {_COLUMNS} FROM files ORDER BY id"))  # noqa: S608

    def needed(self, pack: str, entry: int) -> list[File]:
        """The files that still want this content."""
        query = f"SELECT {_COLUMNS} FROM files WHERE pack = ? AND entry = ? AND needed"  # noqa: S608
        return [File(*row) for row in self.database.execute(query, (pack, entry))]

    def needed_bytes(self) -> int:
        return int(self.database.execute("SELECT TOTAL(size) FROM files WHERE needed").fetchone()[0])

    def missing(self) -> tuple[int, bytes]:
        """How many files are still needed, and the path of the first."""
        row = self.database.execute("SELECT COUNT(*), MIN(id) FROM files WHERE needed").fetchone()
        first = self.database.execute("SELECT path FROM files WHERE id = ?", (row[1],)).fetchone()
        return row[0], bytes(first[0]) if first else b""

    def folders(self) -> Iterator[tuple[int, bytes, int]]:
        """Number, path and mode, folders before what is in them."""
        return self.database.execute("SELECT id, path, mode FROM folders ORDER BY id")

    def note_made(self, number: int) -> None:
        """This folder was not there."""
        self.database.execute("UPDATE folders SET made = 1 WHERE id = ?", (number,))

    def finished_folders(self) -> Iterator[tuple[bytes, int, int, int]]:
        """Path, mode, time, and whether it was made; the deepest first: we may not enter it afterwards."""
        return self.database.execute("SELECT path, mode, mtime_ns, made FROM folders ORDER BY id DESC")

    def links(self) -> Iterator[tuple[bytes, bytes]]:
        """Path and target."""
        return self.database.execute("SELECT path, target FROM links")

    def settle(self, number: int) -> None:
        """This file is there."""
        self.database.execute("UPDATE files SET needed = 0 WHERE id = ?", (number,))

    def close(self) -> None:
        self.database.close()
        os.unlink(self._path)

    def __enter__(self) -> Wanted:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def _add(self, entry: dict[str, Any]) -> None:
        if entry["kind"] == index.FOLDER:
            row: tuple[Any, ...] = (entry["path"], entry["mode"], entry["mtime_ns"])
            self.database.execute("INSERT INTO folders (path, mode, mtime_ns) VALUES (?, ?, ?)", row)
        elif entry["kind"] == index.LINK:
            self.database.execute("INSERT INTO links VALUES (?, ?)", (entry["path"], entry["target"]))
        else:
            names = ("path", "size", "mtime_ns", "mode", "sha256", "pack", "entry")
            query = f"INSERT INTO files ({', '.join(names)}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
            self.database.execute(query, [entry[name] for name in names])
