"""A process that outlives the agent: when that is killed in the middle of an upgrade, somebody goes back."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Callable, Iterator


@contextlib.contextmanager
def watched(way_back: Callable[[], object]) -> Iterator[None]:
    """While this lasts, `way_back` runs in a process of its own as soon as we are gone. It holds the locks that we hold
    until it has ended, and hears of no signal that ends us; who comes to the end here ends it first."""
    alive_out, alive_in = os.pipe()
    ended_out, ended_in = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(alive_in)
            os.close(ended_out)
            _wait(alive_out, way_back)
        finally:
            os._exit(0)  # whatever happens: the child must never go on with the work of its parent
    os.close(alive_out)
    os.close(ended_in)
    os.waitpid(child, 0)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.write(alive_in, b".")
        os.close(alive_in)
        os.read(ended_out, 1)  # its end
        os.close(ended_out)


def _wait(alive: int, way_back: Callable[[], object]) -> None:
    os.setsid()
    if os.fork():
        return
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, _ignore)  # not SIG_IGN, which the server that we start would inherit
    os.chdir("/")
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):  # else whoever waits for the end of our output waits for us
        os.dup2(nothing, descriptor)
    # The end of the pipe comes when we are the last that has it: children of the agent that write as the service user
    # have ended by then, too.
    if not os.read(alive, 1):
        way_back()


def _ignore(number: int, frame: object) -> None:
    return None
