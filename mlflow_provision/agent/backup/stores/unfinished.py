"""Files that appear under their name when they are complete and on the disk, and what is left of others."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from typing import Iterator

from mlflow_provision.agent.backup.stores.base import KIND
from mlflow_provision.agent.durable import sync_folder
from mlflow_provision.agent.protocol import AgentError, in_words, way_out

_ENDING = ".unfinished"
_OLD = 86400.0  # seconds; where files cannot be locked, what is older than this has no writer any more


class UnfinishedFile:
    """A file beside its later name. It is locked as long as its writer lives: see `sweep`."""

    def __init__(self, path: str) -> None:
        self._path = path
        folder, name = os.path.split(path)
        self._beside = os.path.join(folder, f".{name}.{secrets.token_hex(4)}{_ENDING}")
        with told(path):
            self._descriptor = locked(self._beside)

    def write(self, data: bytes) -> None:
        with told(self._path):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> None:
        """From now on it is there, whatever happens to the machine's power."""
        with told(self._path):
            os.fsync(self._descriptor)
            os.rename(self._beside, self._path)
            os.close(self._descriptor)
            self._descriptor = -1
            flush_folder(os.path.dirname(self._path))

    def discard(self) -> None:
        """Leave nothing."""
        with contextlib.suppress(OSError):
            os.unlink(self._beside)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def sweep(folder: str, names: list[str]) -> bool:
    """Remove the unfinished files among `names` whose writers have ended; were there any?"""
    found = [os.path.join(folder, name) for name in names if name.startswith(".") and name.endswith(_ENDING)]
    return bool(sum(_swept(path) for path in found))  # each of them: `any` would end at the first


def flush_folder(folder: str) -> None:
    """Bring the names in a folder onto the disk."""
    with contextlib.suppress(OSError):  # not every file system can, and not every folder may be opened
        sync_folder(folder)


@contextlib.contextmanager
def told(path: str) -> Iterator[None]:
    """Errors of the operating system as an AgentError that names the file."""
    try:
        yield
    except OSError as error:
        named = OSError(error.errno, error.strerror, error.filename or path)
        raise AgentError(f"the backups' folder: {in_words(named)}", way_out(named), KIND) from None


def locked(path: str) -> int:
    """A new file, open and locked as long as we live."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.exists(path):  # else somebody swept it just before it was locked
            return descriptor
        os.close(descriptor)


def lock_free(path: str) -> int | None:
    """The file, open and locked; None if its writer lives, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError) or time.time() - os.fstat(descriptor).st_mtime < _OLD:
            os.close(descriptor)
            return None
    return descriptor


def _swept(path: str) -> bool:
    descriptor = lock_free(path)
    if descriptor is None:
        return False
    try:
        os.unlink(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
