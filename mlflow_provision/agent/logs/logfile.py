"""The log of a server in user scope: a file, which is set aside as `server.log.1` when it has grown large."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from typing import BinaryIO, Callable, Iterator

from mlflow_provision.agent.logs.entry import Entry

_LOOK = 0.3  # seconds between two looks at whether there is more
_MOST = 64 << 20  # bytes of a file that are looked at, from its end
_CHUNK = 1 << 16
_TIME = re.compile(r"(?:--- start |\[)?(\d{4})[/-](\d\d)[/-](\d\d)[ T](\d\d):(\d\d):(\d\d)")


class LogFile:
    """What is in the file and in the one that was set aside. Not every line has a time: such a one is as old as that
    before it."""

    def __init__(self, path: str, stopping: Callable[[], bool]) -> None:
        self._path = path
        self._stopping = stopping
        self._position = 0
        self._inode = 0

    def history(self, since: float | None) -> Iterator[Entry]:
        """From `since` (seconds since 1970) until now."""
        newest: float | None = None
        for path in (f"{self._path}.1", self._path):
            for text in self._read(path):
                at = moment(text)
                newest = at or newest
                if since is None or (newest is not None and newest >= since):
                    yield Entry(at, text)

    def newest(self, since: float | None, count: int, wanted: Callable[[Entry], bool]) -> list[Entry]:
        """The last so many of those that are wanted, the oldest first."""
        return list(deque(filter(wanted, self.history(since)), maxlen=count))

    def further(self) -> Iterator[Entry]:
        """What is written from now on, also into the file that takes the place of this one."""
        pending = b""
        while not self._stopping():
            for file in self._opened():
                with file:
                    file.seek(self._position)
                    while chunk := file.read(_CHUNK):
                        self._position += len(chunk)
                        *whole, pending = (pending + chunk).split(b"\n")
                        for line in whole:
                            text = line.decode("utf-8", "replace")
                            yield Entry(moment(text), text)
            time.sleep(_LOOK)

    def _opened(self) -> Iterator[BinaryIO]:
        """The file that was read last, by whatever name it goes now, then the one that has its place."""
        for path in (f"{self._path}.1", self._path):
            try:
                file = open(path, "rb")  # noqa: SIM115 - the caller closes it
            except OSError:
                continue
            info = os.fstat(file.fileno())
            if info.st_ino == self._inode:
                if info.st_size < self._position:  # somebody has emptied it
                    self._position = 0
            elif path == self._path:
                self._inode, self._position = info.st_ino, 0
            else:
                file.close()
                continue
            yield file

    def _read(self, path: str) -> Iterator[str]:
        try:
            file = open(path, "rb")  # noqa: SIM115
        except OSError:
            return
        with file:
            info = os.fstat(file.fileno())
            position = max(0, info.st_size - _MOST)
            file.seek(position)
            for line in file:
                # What is being written just now comes with what follows it.
                if not line.endswith(b"\n") or position >= info.st_size or self._stopping():
                    break
                position += len(line)
                yield line.decode("utf-8", "replace").rstrip("\r\n")
            if path == self._path:
                self._inode, self._position = info.st_ino, position


def moment(text: str) -> float | None:
    """The time at the beginning of a line, which the server writes as the host's own; None where there is none."""
    found = _TIME.match(text)
    if not found:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        return time.mktime((year, month, day, hour, minute, second, 0, 0, -1))
    except (ValueError, OverflowError):
        return None
