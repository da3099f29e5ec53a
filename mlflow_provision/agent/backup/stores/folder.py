"""Backups in a folder of this machine. What is in it under its name is complete, and on the disk."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Callable, Iterator, Sequence

from mlflow_provision.agent.backup.stores.base import KIND, Entry, missing
from mlflow_provision.agent.backup.stores.unfinished import UnfinishedFile, flush_folder, sweep, told
from mlflow_provision.agent.protocol import AgentError

_PIECE = 1 << 20


class FolderStore:
    """The folder is made by the first `put`; as long as there is none, the store is empty."""

    def __init__(self, folder: str) -> None:
        self.title = folder
        self._folder = os.path.normpath(folder)

    @contextlib.contextmanager
    def put(self, key: str, expected: int = 0) -> Iterator[UnfinishedFile]:
        file = self.begin(key)
        try:
            yield file
            file.finish()
        except BaseException:
            self.discard(key, file)
            raise

    def begin(self, key: str) -> UnfinishedFile:
        """For writers that outlive a block: `finish` the file, or `discard` it here."""
        path = self._path(key)
        with told(path):
            _make_folders(os.path.dirname(path))
        return UnfinishedFile(path)

    def discard(self, key: str, file: UnfinishedFile) -> None:
        file.discard()
        self._forget_folders(os.path.dirname(self._path(key)))

    def get(self, key: str, sink: Callable[[bytes], object]) -> None:
        offset = 0
        with self._opened(key) as descriptor:
            while piece := self._read(key, descriptor, offset, _PIECE):
                sink(piece)
                offset += len(piece)

    def read(self, key: str) -> bytes:
        pieces: list[bytes] = []
        self.get(key, pieces.append)
        return b"".join(pieces)

    def piece(self, key: str, offset: int, most: int) -> tuple[bytes, int]:
        """At most so many bytes from `offset` on, and the size of the whole object. Raises Missing."""
        with self._opened(key) as descriptor:
            return self._read(key, descriptor, offset, most), os.fstat(descriptor).st_size

    def list(self, prefix: str = "") -> Iterator[Entry]:
        parent = os.path.dirname(prefix)
        start = os.path.dirname(self._path(f"{parent}/x")) if parent else self._folder
        with told(self.title):
            for folder, folders, names in os.walk(start, onerror=_refuse):
                folders[:] = [name for name in folders if not name.startswith(".")]
                for name in names:
                    path = os.path.join(folder, name)
                    key = os.path.relpath(path, self._folder)
                    if name.startswith(".") or not key.startswith(prefix):
                        continue
                    with contextlib.suppress(FileNotFoundError):  # removed while we look
                        info = os.lstat(path)
                        if stat.S_ISREG(info.st_mode):
                            yield Entry(key, info.st_size, info.st_mtime)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            path = self._path(key)
            with told(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
            self._forget_folders(os.path.dirname(path))

    def sweep(self) -> None:
        """Remove what writers left that were killed. What cannot be removed stays, and is never listed."""
        for folder, _, names in os.walk(self._folder):
            if sweep(folder, names):
                self._forget_folders(folder)

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        path = self._path(key)
        with told(path):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError):
                raise missing(path) from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self, key: str, descriptor: int, offset: int, size: int) -> bytes:
        with told(self._path(key)):
            return os.pread(descriptor, size, offset)

    def _path(self, key: str) -> str:
        """Where an object is. A key may come from a manifest that somebody edited: it never leads out of the folder."""
        parts = key.split("/")
        if not all(parts) or any(part.startswith(".") for part in parts) or "\0" in key:
            raise AgentError(f"{key!r} is not the name of a part of a backup", "is a manifest damaged?", KIND)
        return os.path.join(self._folder, *parts)

    def _forget_folders(self, folder: str) -> None:
        """Remove folders that have become empty, up to our own."""
        with contextlib.suppress(OSError):
            while folder.startswith(self._folder + os.sep):
                os.rmdir(folder)
                folder = os.path.dirname(folder)


def _make_folders(folder: str) -> None:
    """Those that are missing, closed to others; their names survive a power cut too."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        flush_folder(os.path.dirname(path))


def _refuse(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error
