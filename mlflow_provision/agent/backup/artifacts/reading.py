"""Reading a file that others may be writing to: what was read is of one moment, or it is said that it was not."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Iterator

from mlflow_provision.agent.backup.artifacts.tree import descend, unreadable

PIECE = 1 << 20
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)  # or a link, or a socket by now


@dataclass
class Open:
    """A file that is open for reading: what it was when it was opened."""

    descriptor: int
    status: os.stat_result

    @property
    def size(self) -> int:
        return self.status.st_size

    def steady(self) -> bool:
        """Is it still what it was?"""
        now = os.fstat(self.descriptor)
        was = self.status
        return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (was.st_size, was.st_mtime_ns, was.st_ctime_ns)

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, never more than it had when it was opened; fewer if it has shrunk."""
        left = self.size
        while left:
            piece = os.read(self.descriptor, min(PIECE, left))
            if not piece:
                return
            left -= len(piece)
            yield piece

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> Open:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()


def opened(root: int, path: bytes) -> Open | None:
    """A regular file below `root`; None when it is none (any more). Raises AgentError when it cannot be read."""
    parent, _, name = path.rpartition(b"/")
    try:
        folder = descend(root, parent)
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise unreadable(path, error) from None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return Open(descriptor, status)
    os.close(descriptor)
    return None
