"""Steps of a long request, as the person who waits sees them."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Callable, Iterator

from mlflow_provision.agent.protocol import CHANGED, FAILED, AgentError, Event, Progress, Result, Start, in_words

Emit = Callable[[Event], None]
_PAUSE = 0.2  # seconds between two events of progress


@dataclass
class Step:
    """What its Result will say."""

    summary: str = ""
    verdict: str = CHANGED


@contextlib.contextmanager
def step(emit: Emit, name: str, title: str) -> Iterator[Step]:
    """A step: told when it begins, and how it ended."""
    started = time.monotonic()
    emit(Start(name, title))
    told = Step()
    try:
        yield told
    except (AgentError, OSError) as error:
        summary = error.message if isinstance(error, AgentError) else in_words(error)
        emit(Result(name, title, FAILED, time.monotonic() - started, summary))
        raise
    emit(Result(name, title, told.verdict, time.monotonic() - started, told.summary))


def progress(emit: Emit, name: str) -> Callable[[int, int], None]:
    """Takes how many of how many bytes are done, and tells it now and then, and at the end."""
    told = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done >= total or time.monotonic() - told > _PAUSE:
            told = time.monotonic()
            emit(Progress(name, done, total))

    return tell


def counted(tell: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """The same for who knows only how many more bytes there are each time."""
    done = 0

    def piece(size: int) -> None:
        nonlocal done
        done += size
        tell(done, total)

    return piece


def one_at_a_time(emit: Emit) -> Emit:
    """For events out of several threads: lines must not get into each other."""
    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock:
            emit(event)

    return tell


def amount(count: float) -> str:
    """A number of bytes for people: `430 MB`, `2.1 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
