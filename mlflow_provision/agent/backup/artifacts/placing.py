"""Files on their way from a pack to their places: each is checked before anybody sees it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from contextlib import ExitStack
from typing import Iterator

from mlflow_provision.agent.backup.artifacts.index import EMPTY
from mlflow_provision.agent.backup.artifacts.landing import Landing
from mlflow_provision.agent.backup.artifacts.wanted import File, Wanted

_PIECE = 1 << 20


class Placing:
    """Takes the entries of packs, and puts those that are needed where they are needed."""

    def __init__(self, landing: Landing, wanted: Wanted) -> None:
        self._landing, self._wanted = landing, wanted
        self._pack = ""
        self._open: ExitStack | None = None
        self._files: list[File] = []
        self._descriptor = -1
        self._digest = hashlib.sha256()
        self.written = self.bytes = 0

    @contextlib.contextmanager
    def pack(self, name: str) -> Iterator[Placing]:
        """The entries of this pack follow. A file that is not complete at its end is removed."""
        self._pack = name
        try:
            yield self
        finally:
            self._drop()

    def empty(self, file: File) -> None:
        """A file without content, which is in no pack."""
        if file.sha256 == EMPTY:
            with self._landing.file(file.path) as descriptor:
                self._place(file, descriptor)

    def begin(self, number: int, size: int) -> None:
        self._files = [file for file in self._wanted.needed(self._pack, number) if file.size == size]
        if self._files:
            self._open = ExitStack()
            self._descriptor = self._open.enter_context(self._landing.file(self._files[0].path))
            self._digest = hashlib.sha256()

    def data(self, piece: memoryview) -> None:
        if self._open:
            self._digest.update(piece)
            _write(self._descriptor, piece)

    def end(self) -> None:
        if not self._open:
            return
        digest = self._digest.hexdigest()
        files = [file for file in self._files if file.sha256 == digest]
        if files and files[0] is self._files[0]:
            self._place(files[0], self._descriptor)
            for file in files[1:]:
                self._copy(file)
        self._drop()

    def _copy(self, file: File) -> None:
        """The same content for another path."""
        with self._landing.file(file.path) as descriptor:
            offset = 0
            while offset < file.size:
                piece = os.pread(self._descriptor, _PIECE, offset)
                if not piece:  # somebody has cut the first one meanwhile: this one is missing, and said to be
                    return
                _write(descriptor, memoryview(piece))
                offset += len(piece)
            self._place(file, descriptor)

    def _place(self, file: File, descriptor: int) -> None:
        self._landing.place(file.path, descriptor, file.mode, file.mtime_ns)
        self._wanted.settle(file.id)
        self.written += 1
        self.bytes += file.size

    def _drop(self) -> None:
        if self._open:
            self._open.close()
        self._open, self._files = None, []


def _write(descriptor: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]
