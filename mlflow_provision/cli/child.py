"""A child process that has our place in the terminal: our descriptors, the signals we get, and its own exit code."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import click

_OF_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)  # go to every process in front of it, the child too
_OF_ONE_PROCESS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
NOT_EXECUTABLE = 126


def run_child(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Its exit code; 128 and the number of the signal if one killed it."""
    children: list[subprocess.Popen[bytes]] = []
    with _passed_on(children):
        try:
            child = subprocess.Popen(argv, env=dict(environment))
        except OSError as error:
            click.echo(f"mlflow-provision run: {argv[0]}: {error.strerror or error}", err=True)
            return NOT_EXECUTABLE
        children.append(child)
        code = child.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _passed_on(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """We get the signals first and live on: the child decides what they mean."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        if number in _OF_THE_TERMINAL and _in_front():
            return
        for child in children:
            with suppress(ProcessLookupError):
                child.send_signal(number)

    # Handlers, not SIG_IGN: that one the child would inherit.
    before = {number: signal.signal(number, pass_on) for number in (*_OF_THE_TERMINAL, *_OF_ONE_PROCESS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_front() -> bool:
    """Does the terminal send its signals to us and our children by itself?"""
    with suppress(OSError), open("/dev/tty") as terminal:  # noqa: PTH123
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False
