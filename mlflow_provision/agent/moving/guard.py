"""Somebody who stands by while a server is down: if we are killed, it does what we would have done."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Callable, Iterator


@contextlib.contextmanager
def guarded(way_back: Callable[[], object]) -> Iterator[None]:
    """Within the block a child process waits; when this one dies before the block has ended, the child calls
    `way_back`, with nobody to hear it. What must not happen meanwhile is prevented by the lock, which it inherits."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(theirs)
            _stand_by(ours, way_back)
        finally:
            os._exit(0)
    os.close(ours)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.write(theirs, b".")
        os.close(theirs)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _stand_by(pipe: int, way_back: Callable[[], object]) -> None:
    os.setsid()  # whoever ends our parent's group does not mean us
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # the operator's side waits for the end of our output
        os.dup2(nothing, descriptor)
    if not os.read(pipe, 1):
        way_back()
