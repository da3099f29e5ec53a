"""A started agent: what is written to it, and all that it says, in one queue. The same over SSH and on this machine."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue

BEAT = 10.0  # seconds between signs of life to the agent, which gives up after a minute without one
STDERR_LIMIT = 64 * 1024  # characters kept of what the agent and sudo write to stderr


@dataclass(frozen=True)
class Streams:
    """What a channel of SSH and a child process have in common. Reads return b"" at the end; all of them block."""

    read_output: Callable[[], bytes]
    read_errors: Callable[[], bytes]
    write: Callable[[bytes], None]
    end_input: Callable[[], None]
    wait: Callable[[], int]
    close: Callable[[], None]
    lost: Callable[[], bool]  # has the connection died?


@dataclass(frozen=True)
class Line:
    """A line of stdout."""

    text: str


@dataclass(frozen=True)
class Complaint:
    """Something was written to stderr: see `Process.stderr`."""


@dataclass(frozen=True)
class End:
    """The process has ended. The status is -1 where none was told."""

    status: int


Item = Line | Complaint | End


class Process:
    """Reads and writes at the same time, so that neither side can block the other however much there is to say."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._input: SimpleQueue[bytes | None] = SimpleQueue()
        self._stderr = ""
        self._beating = False
        self.interrupted = False
        errors = threading.Thread(target=self._read_errors, daemon=True)
        for thread in (
            errors,
            threading.Thread(target=self._read_output, args=(errors,), daemon=True),
            threading.Thread(target=self._write, daemon=True),
        ):
            thread.start()

    def send(self, data: bytes) -> None:
        self._input.put(data)

    def beat(self) -> None:
        """From now on send a sign of life now and then: a link that dies without a word is noticed by its absence."""
        self._beating = True

    def end_input(self) -> None:
        """Close stdin once everything before has been sent."""
        self._input.put(None)

    def interrupt(self) -> None:
        """Ask the agent to stop after its current step. Safe in a signal handler: it only puts into a queue."""
        self.interrupted = True
        self._input.put(None)

    def next(self, timeout: float | None = None) -> Item | None:
        """What was said next; None after `timeout` seconds of silence."""
        try:
            return self._items.get(timeout=timeout)
        except Empty:
            return None

    @property
    def stderr(self) -> str:
        return self._stderr

    @property
    def lost(self) -> bool:
        return self._streams.lost()

    def close(self) -> None:
        self._input.put(None)
        with contextlib.suppress(OSError, EOFError):  # the connection may have died just now
            self._streams.close()

    def _write(self) -> None:
        with contextlib.suppress(Exception):  # it no longer reads: how it ended says why
            for data in iter(self._next_input, None):
                self._streams.write(data)
            self._streams.end_input()

    def _next_input(self) -> bytes | None:
        try:
            return self._input.get(timeout=BEAT)
        except Empty:
            return b"\n" if self._beating else b""

    def _read_output(self, errors: threading.Thread) -> None:
        rest = bytearray()
        for data in _until_end(self._streams.read_output):
            rest += data
            if b"\n" not in data:  # a piece of a long line
                continue
            *lines, rest = rest.split(b"\n")
            for line in lines:
                self._items.put(Line(line.decode(errors="replace")))
        if rest:
            self._items.put(Line(rest.decode(errors="replace")))
        status = self._streams.wait()
        errors.join(timeout=2)  # something left in the background may keep stderr open
        self._items.put(End(status))

    def _read_errors(self) -> None:
        for data in _until_end(self._streams.read_errors):
            self._stderr = (self._stderr + data.decode(errors="replace"))[-STDERR_LIMIT:]
            self._items.put(Complaint())


def _until_end(read: Callable[[], bytes]) -> Iterator[bytes]:
    while True:
        try:
            data = read()
        except (OSError, EOFError):
            return
        if not data:
            return
        yield data
