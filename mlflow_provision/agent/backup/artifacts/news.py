"""What is new in the artifacts folder, as a stream of entries for packs; content that is known is not stored again."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass
from typing import Callable, Generator, Iterator, Union

from mlflow_provision.agent.backup.artifacts import archive, index, reading
from mlflow_provision.agent.backup.artifacts.index import EMPTY, FILE
from mlflow_provision.agent.backup.artifacts.known import Content, Known
from mlflow_provision.agent.backup.artifacts.reading import Open
from mlflow_provision.agent.backup.artifacts.tree import Found
from mlflow_provision.agent.backup.channel import raise_if

_IN_MEMORY = 4 << 20  # bytes; a larger file is read while it is stored
_PAUSES = (0.0, 0.05, 0.5)  # seconds before each try to read a file that others may be writing to
_TICK = 2 * 10**9  # nanoseconds: a file changed so shortly before may change again without its time showing it


@dataclass(frozen=True)
class Begin:
    """The bytes of an entry with so much content follow."""

    size: int


_Stream = Generator[Union[Begin, bytes], None, bool]  # returns whether there is nothing more to try


class News:
    """Reads the files that have changed. `write` puts a file into the index: what it is, where, and whether it must be
    read again the next time, because it was being written."""

    def __init__(
        self,
        root: int,
        known: Known,
        write: Callable[[Found, Content, bool], None],
        progress: Callable[[int], object],
        stopping: Callable[[], bool],
        large: int,
    ) -> None:
        self._root, self._known, self._write, self._stopping = root, known, write, stopping
        self._progress, self._large = progress, large
        self._pack, self._number = "", 0
        self._torn: list[bytes] = []
        self._lost: list[bytes] = []
        self.done = self.new_bytes = 0

    def stream(self) -> Iterator[Union[Begin, bytes]]:
        """For each entry a Begin, then its bytes. Whoever takes them says before the first where they go."""
        for path in self._known.changed(self._large):
            raise_if(self._stopping)
            yield from self._file(path)

    def goes_into(self, pack: str, number: int) -> None:
        """The entry that just began is this one of that pack."""
        self._pack, self._number = pack, number

    def notes(self) -> list[str]:
        """For people: what was not read as it should have been."""
        found = []
        for paths, what in (
            (self._torn, "changed while it was read, and is as it was read"),
            (self._lost, "shrank while it was read, and is left out"),
        ):
            found += [f"{index.shown(path)} {what}" for path in paths[:3]]
            if len(paths) > 3:
                found.append(f"and {len(paths) - 3} more like it")
        return found

    def _file(self, path: bytes) -> _Stream:
        for number, pause in enumerate(_PAUSES):
            if pause:
                time.sleep(pause)
            file = reading.opened(self._root, path)
            if not file:
                return True  # deleted meanwhile: so it is in no backup from now on
            with file:
                if file.size <= _IN_MEMORY:
                    done = yield from self._small(path, file, number == len(_PAUSES) - 1)
                else:
                    done = yield from self._big(path, file, number == 1)  # all of it is stored each time
            if done:
                break
        return True

    def _small(self, path: bytes, file: Open, last_try: bool) -> _Stream:
        content = b"".join(file.pieces())
        steady = file.steady() and len(content) == file.size
        if not steady and not last_try:
            return False
        if not steady:
            self._torn.append(path)
        self._advance(len(content))
        found = _found(path, file, len(content))
        digest = hashlib.sha256(content).hexdigest()
        where = self._known.content(digest) if content else Content(EMPTY, "", 0)
        if not where:
            yield Begin(len(content))
            head = archive.header(path, len(content), found.mtime_ns, found.mode)
            yield b"".join((head, content, archive.padding(len(content))))
            where = self._added(digest, len(content))
        self._write(found, where, not steady or _fresh(found))
        return True

    def _big(self, path: bytes, file: Open, last_try: bool) -> _Stream:
        found = _found(path, file, file.size)
        where = self._known_already(file)
        if where:
            self._advance(file.size)
            self._write(found, where, _fresh(found))
            return True
        yield Begin(file.size)
        yield archive.header(path, file.size, found.mtime_ns, found.mode)
        digest, read = hashlib.sha256(), 0
        for piece in file.pieces():
            digest.update(piece)
            read += len(piece)
            self._advance(len(piece))
            yield piece
        steady = file.steady() and read == file.size
        yield from _zeros(file.size - read)  # the header has promised so many
        yield archive.padding(file.size)
        if not steady and not last_try:
            return False
        if read < file.size:
            self._lost.append(path)
            return True
        if not steady:
            self._torn.append(path)
        self._write(found, self._added(digest.hexdigest(), read), not steady or _fresh(found))
        return True

    def _known_already(self, file: Open) -> Content | None:
        """Where the content of a large file is. It is read for that only if there is any of its size."""
        if not self._known.has_size(file.size):
            return None
        where = self._known.content(self._sum(file))
        os.lseek(file.descriptor, 0, os.SEEK_SET)
        return where if file.steady() else None

    def _sum(self, file: Open) -> str:
        digest = hashlib.sha256()
        for piece in file.pieces():
            raise_if(self._stopping)
            digest.update(piece)
        return digest.hexdigest()

    def _added(self, digest: str, size: int) -> Content:
        where = Content(digest, self._pack, self._number)
        self._known.add(where, size)
        self.new_bytes += size
        return where

    def _advance(self, count: int) -> None:
        self.done += count
        self._progress(self.done)


def _found(path: bytes, file: Open, size: int) -> Found:
    status = file.status
    return Found(path, FILE, size, status.st_mtime_ns, stat.S_IMODE(status.st_mode))


def _fresh(found: Found) -> bool:
    return found.mtime_ns > time.time_ns() - _TICK


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, reading.PIECE))
        count -= reading.PIECE
