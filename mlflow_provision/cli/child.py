"""A child process that has our place in the terminal: our descriptors, the signals we get, and its own exit code."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from types import FrameType

import click

from mlflow_provision.errors import ExitCode
from mlflow_provision.signals import handled

_OF_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)  # go to every process in front of it, the child too
_OF_ONE_PROCESS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class _Heir:
    """Who gets our signals; those that come before it was started wait for it."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def born(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        for number in self._early:
            child.send_signal(number)

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        if self._child is None:
            self._early.append(number)
        elif number not in _OF_THE_TERMINAL or not _in_front():
            with suppress(ProcessLookupError):
                self._child.send_signal(number)


def run_child(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Its exit code; 128 and the number of the signal if one killed it."""
    heir = _Heir()
    with _signals_to(heir):
        try:
            child = subprocess.Popen(argv, env=dict(environment))
        except OSError as error:
            click.echo(f"mlflow-provision run: {argv[0]}: {error.strerror or error}", err=True)
            return ExitCode.NOT_EXECUTABLE
        heir.born(child)
        code = child.wait()
    return code if code >= 0 else 128 - code


def _signals_to(heir: _Heir) -> AbstractContextManager[None]:
    """We get the signals first and live on: the child decides what they mean. What we ignore (nohup), it does too."""
    ours = [
        number for number in (*_OF_THE_TERMINAL, *_OF_ONE_PROCESS) if signal.getsignal(number) is not signal.SIG_IGN
    ]
    # Handlers, not SIG_IGN: that one the child would inherit.
    return handled(ours, heir.pass_on)


def _in_front() -> bool:
    """Does the terminal send its signals to us and our children by itself?"""
    with suppress(OSError), open("/dev/tty") as terminal:  # noqa: PTH123
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False
