"""Threads that put and get objects while the main thread packs or unpacks them. None outlives the process."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Callable

from mlflow_provision.agent.backup.channel import LOOK, Gone, Pipe, Tally, raise_if
from mlflow_provision.agent.backup.stores.base import Store

_PATIENCE = 1.5  # seconds to undo an upload tidily, before it is left to the next run
_uploads: weakref.WeakSet[Upload] = weakref.WeakSet()


class Upload(threading.Thread):
    """Puts what comes out of a pipe; the object exists when `finish` returns."""

    def __init__(self, store: Store, key: str, expected: int, pipe: Pipe) -> None:
        super().__init__(daemon=True)
        self._store, self._key, self._expected, self._pipe = store, key, expected, pipe
        self._error: BaseException | None = None
        self.tally = Tally()
        _uploads.add(self)

    def run(self) -> None:
        try:
            with self._store.put(self._key, self._expected) as writer:
                for piece in self._pipe:
                    writer.write(piece)
                    self.tally.add(piece)
        except BaseException as error:
            self._error = error
            self._pipe.abandon()

    def finish(self, stopping: Callable[[], bool]) -> None:
        """Wait until everything is there. Raises what went wrong."""
        while self.is_alive():
            raise_if(stopping)
            self.join(LOOK)
        if self._error:
            raise self._error

    def cancel(self) -> None:
        """Leave nothing, if that can be had quickly."""
        self._pipe.abandon()
        self.join(_PATIENCE)


class Fetch(threading.Thread):
    """Gets an object into a pipe, and counts what has come."""

    def __init__(self, store: Store, key: str, limit: int, pipe: Pipe, stopping: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self._store, self._key, self._limit, self._pipe, self._stopping = store, key, limit, pipe, stopping
        self._error: BaseException | None = None
        self._flowing = True
        self._cancelled = False
        self.tally = Tally()

    def run(self) -> None:
        try:
            self._store.get(self._key, self._piece)
            if self._flowing:
                self._pipe.end()
        except BaseException as error:
            self._error = error
            self._pipe.abandon()

    def finish(self) -> None:
        """Wait until everything has come, wanted or not. Raises what went wrong."""
        while self.is_alive():
            raise_if(self._stopping)
            self.join(LOOK)
        if self._error and not isinstance(self._error, Gone):
            raise self._error

    def cancel(self) -> None:
        self._cancelled = True
        self._pipe.abandon()
        self.join(_PATIENCE)

    def _piece(self, data: bytes) -> None:
        raise_if(self._stopping)
        if self._cancelled:
            raise Gone
        self.tally.add(data)
        if self.tally.size > self._limit:
            self._flowing = False
            self._pipe.abandon()
            raise Gone  # more than was ever stored: the sums tell the rest
        if not self._flowing:
            return
        try:
            self._pipe.write(data)
        except Gone:
            # Whoever unpacks has given up. Whether that is the fault of the object is told by the sum of all of it.
            self._flowing = False


def at_work() -> bool:
    """Whether an upload that was given up may still be putting something."""
    deadline = time.monotonic() + _PATIENCE
    while any(upload.is_alive() for upload in _uploads):
        if time.monotonic() > deadline:
            return True
        time.sleep(LOOK)
    return False
