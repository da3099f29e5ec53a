"""A pack is a tar that any tar opens: written as a stream of bytes, and taken apart while it arrives."""

from __future__ import annotations

import tarfile
from typing import Callable

from mlflow_provision.agent.protocol import AgentError

_BLOCK = 512
END = bytes(2 * _BLOCK)
_LONG_NAME = b"L"


def header(path: bytes, size: int, mtime_ns: int, mode: int) -> bytes:
    """What stands before the content of a file. GNU's format: names and sizes of any length, names of any bytes."""
    info = tarfile.TarInfo(path.decode("utf-8", "surrogateescape"))
    info.size, info.mode = size, mode & 0o777
    info.mtime = min(max(0, mtime_ns // 10**9), 8**11 - 1)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """What stands behind it."""
    return bytes(-size % _BLOCK)


class Unpacking:
    """Call it with the bytes of a pack, piece by piece. Entries are numbered from 0."""

    def __init__(
        self,
        begin: Callable[[int, int], None],  # number, size
        data: Callable[[memoryview], None],
        end: Callable[[], None],
    ) -> None:
        self._begin, self._data, self._end = begin, data, end
        self._header = bytearray()
        self._left = 0  # bytes of content
        self._skip = 0  # bytes of padding, or of a long name
        self._number = -1
        self._finished = False

    def __call__(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view and not self._finished:
            if self._left:
                taken = min(self._left, len(view))
                self._left -= taken
                self._data(view[:taken])
                if not self._left:
                    self._end()
            elif self._skip:
                taken = min(self._skip, len(view))
                self._skip -= taken
            else:
                taken = min(_BLOCK - len(self._header), len(view))
                self._header += view[:taken]
                if len(self._header) == _BLOCK:
                    self._opened(bytes(self._header))
                    self._header.clear()
            view = view[taken:]

    @property
    def complete(self) -> bool:
        """Has the end of the archive been seen?"""
        return self._finished

    def _opened(self, block: bytes) -> None:
        if not any(block):
            self._finished = True
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise AgentError(f"a pack is no tar: {error}", "use another backup: `backup list`", "damaged") from None
        filled = info.size + -info.size % _BLOCK
        if info.type == _LONG_NAME:
            self._skip = filled
            return
        self._number += 1
        self._left, self._skip = info.size, filled - info.size
        self._begin(self._number, info.size)
        if not info.size:
            self._end()
