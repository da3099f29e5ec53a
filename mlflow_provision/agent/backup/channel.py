"""Pieces of bytes on their way from one thread to another: few at a time, and neither waits for one that has gone."""

from __future__ import annotations

import hashlib
import queue
import threading
from typing import Callable, Iterator, Protocol

from mlflow_provision.agent.protocol import AgentError

LOOK = 0.1  # seconds between two looks at whether to stop
_PIECES = 8  # of up to a mebibyte: the memory that a pipe may take


class Gone(Exception):
    """The other end of a pipe has given up; it knows why."""


class Pipe(Protocol):
    """One end writes and says when it has ended, the other iterates. Either may abandon it: the other gets Gone."""

    def write(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def __iter__(self) -> Iterator[bytes]: ...

    def abandon(self) -> None: ...


class Channel:
    """A pipe that hands on what is written."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self._queue: queue.Queue[bytes | None] = queue.Queue(_PIECES)
        self._gone = threading.Event()

    def write(self, data: bytes) -> None:
        self._put(data)

    def end(self) -> None:
        self._put(None)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self._check()
            try:
                piece = self._queue.get(timeout=LOOK)
            except queue.Empty:
                continue
            if piece is None:
                return
            yield piece

    def abandon(self) -> None:
        self._gone.set()

    def _put(self, data: bytes | None) -> None:
        while True:
            self._check()
            try:
                return self._queue.put(data, timeout=LOOK)
            except queue.Full:
                continue

    def _check(self) -> None:
        raise_if(self._stopping)
        if self._gone.is_set():
            raise Gone


class Tally:
    """Size and sum of what has passed."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self._digest.update(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def raise_if(stopping: Callable[[], bool]) -> None:
    """Raise AgentError of kind "interrupted" when somebody wants us to stop."""
    if stopping():
        raise AgentError("stopped on request", kind="interrupted")
