"""The artifacts folder in a backup: what is new goes into packs, and an index says where everything is."""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict, dataclass
from typing import Any, Callable, Iterator

from mlflow_provision.agent.backup.artifacts import archive, index, tree
from mlflow_provision.agent.backup.artifacts.index import EMPTY, FILE, FOLDER, LINK
from mlflow_provision.agent.backup.artifacts.known import Content, Known, room_in
from mlflow_provision.agent.backup.artifacts.news import Begin, News
from mlflow_provision.agent.backup.artifacts.pack_check import Checked, check, check_sums
from mlflow_provision.agent.backup.artifacts.pack_restore import Restored, restore
from mlflow_provision.agent.backup.artifacts.previous import Previous, present, previous, remember
from mlflow_provision.agent.backup.artifacts.tree import Found
from mlflow_provision.agent.backup.codec import store_stream, suffix
from mlflow_provision.agent.backup.manifest import Member
from mlflow_provision.agent.backup.settings import Encryption
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.protocol import AgentError, in_words, way_out

__all__ = [
    "Artifacts",
    "Checked",
    "Previous",
    "Restored",
    "back_up",
    "check",
    "check_sums",
    "previous",
    "remember",
    "restore",
]

PACK = 256 << 20  # bytes of content; a file of more than half of it comes after all others, alone
ENTRIES = 20_000  # of one pack


@dataclass(frozen=True)
class Artifacts:
    """What a backup holds of the artifacts folder. `index` is a file in scratch: the content of member `index.NAME`."""

    index: str
    packs: tuple[Member, ...]  # those of earlier backups too
    files: int
    bytes: int
    new_bytes: int  # of content that no earlier backup had
    notes: tuple[str, ...]  # for people: what is not in it, and why


def back_up(
    folder: str,
    store: Store,
    last: Previous | None,
    encryption: Encryption,
    scratch: str,
    progress: Callable[[int, int], object],
    stopping: Callable[[], bool],
    begun: Callable[[str], object] = lambda key: None,
) -> Artifacts:
    """Put what is new into the store, and write the index. `last` is what `previous` found.

    `progress` hears how many of how many bytes have been read; `begun` the key of each pack before it is written.
    Raises AgentError of kind "source" for a folder that is not there or cannot be read.
    """
    try:
        with room_in(scratch), tree.opened(folder) as root, Known(os.path.join(scratch, "known.db")) as known:
            return _Backup(root, folder, store, last, encryption, known, progress, stopping, begun).made(scratch)
    except OSError as error:
        raise AgentError(f"the artifacts cannot be backed up: {in_words(error)}", way_out(error)) from None


class _Backup:
    def __init__(
        self,
        root: int,
        folder: str,
        store: Store,
        last: Previous | None,
        encryption: Encryption,
        known: Known,
        progress: Callable[[int, int], object],
        stopping: Callable[[], bool],
        begun: Callable[[str], object],
    ) -> None:
        self._root, self._folder, self._store, self._encryption, self._known = root, folder, store, encryption, known
        self._progress, self._stopping, self._begun = progress, stopping, begun
        self._old = {index.pack_id(pack): pack for pack in last.packs} if last else {}
        self._last = last
        self._used: set[str] = set()
        self._new: list[Member] = []
        self._files = self._bytes = self._to_read = 0
        self._notes: list[str] = []
        self._news = News(root, known, self._write, self._told, stopping, PACK // 2)

    def made(self, scratch: str) -> Artifacts:
        path = os.path.join(scratch, index.NAME)
        if self._last:
            there = present(self._store, self._old, self._stopping)
            self._learn(self._last.index, there)
            if os.path.dirname(self._last.index) == scratch:  # fetched, not kept
                os.unlink(self._last.index)
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as self._index:
            self._index.write(index.header())
            self._look()
            self._pack()
        packs = [*(self._old[name] for name in sorted(self._used & set(self._old))), *self._new]
        if len(present(self._store, {pack.key: pack for pack in packs}, self._stopping)) < len(packs):
            message = f"packs of this backup have vanished from {self._store.title} meanwhile"
            raise AgentError(message, "somebody else pruned it, or it is damaged: back up again", "failed")
        new = self._news.new_bytes
        notes = (*self._notes, *self._news.notes())
        return Artifacts(path, tuple(packs), self._files, self._bytes, new, notes)

    def _learn(self, path: str, packs: set[str]) -> None:
        try:
            self._known.learn(index.entries(path, "the index of the last backup"), packs)
        except AgentError as error:  # what could be read of it is right; the rest is stored anew
            self._notes.append(error.message)

    def _look(self) -> None:
        """Write down what needs no reading, note what does."""
        specials: list[bytes] = []
        outside: list[bytes] = []
        seen = 0
        for found in tree.walk(self._root, self._stopping):
            seen += found.kind == FILE
            if found.kind == FILE:
                self._see(found)
            elif found.kind == FOLDER:
                self._entry(path=found.path, kind=FOLDER, mode=found.mode, mtime_ns=found.mtime_ns)
            elif found.kind == LINK and index.stays_inside(found.path, found.target):
                self._entry(path=found.path, kind=LINK, target=found.target)
            else:
                _some(outside if found.kind == LINK else specials, found.path)
        if self._known.files and not seen:
            raise AgentError(
                f"the artifacts folder is empty, but the last backup has {self._known.files} files: {self._folder}",
                "see whether its disk is mounted; if all artifacts were deleted on purpose, leave a sign of it: "
                f"touch {self._folder}/.empty",
                "source",
            )
        self._notes += _counted(outside, "symbolic link leads", "symbolic links lead", "out of the folder: left out")
        self._notes += _counted(specials, "socket, pipe or device", "sockets, pipes or devices", "left out")

    def _see(self, found: Found) -> None:
        content = Content(EMPTY, "", 0) if not found.size else self._known.unchanged(found)
        if content:
            self._write(found, content, False)
        else:
            self._to_read += found.size
            self._known.note_changed(found)

    def _write(self, found: Found, content: Content, fresh: bool) -> None:
        """A file, in the index."""
        self._files += 1
        self._bytes += found.size
        if content.pack:
            self._used.add(content.pack)
        numbers = {"size": found.size, "mtime_ns": found.mtime_ns, "mode": found.mode}
        more = {"fresh": True} if fresh else {}
        self._entry(path=found.path, kind=FILE, **numbers, **content._asdict(), **more)

    def _told(self, done: int) -> None:
        self._progress(min(done, self._to_read), self._to_read)

    def _entry(self, **values: Any) -> None:
        self._index.write(index.line(values))

    def _pack(self) -> None:
        """Store what is new, pack by pack. Nothing is stored when nothing is."""
        stream = self._news.stream()
        begin = next(stream, None)
        while isinstance(begin, Begin):
            self._next: Begin | None = None
            name = secrets.token_hex(12)
            key = f"packs/{name}.tar{suffix(self._encryption)}"
            expected = max(begin.size, min(PACK, self._to_read - self._news.done))
            self._begun(key)
            pieces = self._pieces(name, begin, stream)
            stored = store_stream(self._store, key, pieces, self._encryption, expected, stopping=self._stopping)
            self._new.append(Member(f"packs/{name}.tar", key, **asdict(stored)))
            begin = self._next

    def _pieces(self, name: str, begin: Begin, stream: Iterator[Begin | bytes]) -> Iterator[bytes]:
        """The bytes of one pack: entries for as long as they fit."""
        size, entries = begin.size, 1
        self._news.goes_into(name, 0)
        for item in stream:
            if isinstance(item, bytes):
                yield item
            elif size + item.size > PACK or entries >= ENTRIES:
                self._next = item
                break
            else:
                self._news.goes_into(name, entries)
                size, entries = size + item.size, entries + 1
        yield archive.END


def _some(paths: list[bytes], path: bytes) -> None:
    """Count all, but remember the name of the first only."""
    paths.append(b"" if paths else path)


def _counted(paths: list[bytes], one: str, many: str, what: str) -> list[str]:
    if not paths:
        return []
    words = one if len(paths) == 1 else many
    return [f"{len(paths)} {words} {what}: {index.shown(paths[0])}{', …' if len(paths) > 1 else ''}"]
