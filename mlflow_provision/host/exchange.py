"""Start the agent, tell it what to do, pass on its events, and turn a bad end into an error."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_provision.agent.protocol import Ask, Done, Event, Start, decode
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import refusals
from mlflow_provision.host.process import End, Line, Process
from mlflow_provision.host.program import NOT_LINUX, OLD_PYTHON, READY, again, payload
from mlflow_provision.host.refusals import Ending
from mlflow_provision.host.replies import Reply, over, to
from mlflow_provision.host.sudo import Sudo
from mlflow_provision.host.where import Where

SUDO_PATIENCE = 30.0  # seconds for sudo to judge a password; a wrong one takes about two
LAST_BREATH = 2.0  # seconds for the agent to end after it said `done`
STRAY_LINES = 50

_CODES = {"locked": ExitCode.LOCKED, "interrupted": ExitCode.INTERRUPTED}


class _Gone(Exception):
    """The agent had ended before the request reached it."""


@dataclass
class Conversation:
    """An agent that is asked one thing after the other: a second request costs a tenth of the first.

    `start(with_password)` starts the bootstrap; it is called again when sudo turns out to want a password, or when
    the agent has ended meanwhile.
    """

    start: Callable[[bool], Process]
    where: Where
    sudo: Sudo
    agent: Path
    _idle: Process | None = None
    _busy: Process | None = None

    def request(self, verb: str, data: dict[str, Any], reply: Reply | None = None) -> Iterator[Event]:
        """Every event of one request, `Done` last. Raises ProvisionError when the request failed."""
        try:
            yield from self._answered(verb, data, reply)
        finally:
            over(reply)

    def _answered(self, verb: str, data: dict[str, Any], reply: Reply | None) -> Iterator[Event]:
        if self._idle:
            process, self._idle = self._idle, None
            process.send(again(verb, data))
            try:
                yield from self._follow(process, reply, started_for_this=False)
                return
            except _Gone:
                pass
        yield from self._follow(self._started(payload(verb, data, self.agent)), reply, started_for_this=True)

    def interrupt(self) -> None:
        """Ask the agent to stop after its current step. Safe in a signal handler."""
        if self._busy:
            self._busy.interrupt()

    def close(self) -> None:
        """The agent ends by itself when nobody is there any more, after its current step."""
        for process in filter(None, (self._idle, self._busy)):
            process.close()
        self._idle = self._busy = None

    def _started(self, payload: bytes) -> Process:
        while True:
            process = self._busy = self.start(self.sudo.password is not None)
            try:
                ending = _begin(process, payload, self.sudo.password)
            except BaseException:
                process.close()
                raise
            if ending is None:
                self.sudo.accepted()
                return process
            process.close()
            if ending.lost or ending.interrupted or not self.sudo.after_refusal(ending.stderr):
                raise refusals.never_started(ending, self.where)

    def _follow(self, process: Process, reply: Reply | None, started_for_this: bool) -> Iterator[Event]:
        self._busy = process
        finished = False
        try:
            yield from _events(process, reply, self.where, started_for_this)
            finished = True
        finally:
            self._busy = None
            if finished and not process.interrupted:
                self._idle = process
            else:
                process.close()


def _begin(process: Process, payload: bytes, password: str | None) -> Ending | None:
    """Send the request and wait until the bootstrap runs. Returns how it ended if it never does.

    The payload follows the password only when sudo has accepted it: a sudo that refuses a password takes the next
    line for another one, and three of them can lock an account.
    """
    process.send(payload if password is None else f"{password}\n".encode())
    judging = password is not None
    deadline = time.monotonic() + SUDO_PATIENCE
    noise: deque[str] = deque(maxlen=STRAY_LINES)
    while not isinstance(item := process.next(max(0.0, deadline - time.monotonic()) if judging else None), End):
        if isinstance(item, Line) and item.text.rstrip("\r") == READY:
            if password is not None:
                process.send(payload)
            process.beat()
            return None
        if isinstance(item, Line):
            noise.append(item.text)
        elif judging and (item is None or Sudo.asks_again(process.stderr)):
            process.end_input()
            judging = False  # from here on it can only end
    return _ending(process, item, noise)


def _events(process: Process, reply: Reply | None, where: Where, started_for_this: bool) -> Iterator[Event]:
    stray: deque[str] = deque(maxlen=STRAY_LINES)
    step = ""
    silent = True
    while not isinstance(item := process.next(), End):
        if not isinstance(item, Line):
            continue
        try:
            event = decode(item.text)
        except (ValueError, TypeError):
            stray.append(item.text)
            continue
        silent = False
        if isinstance(event, Ask):
            process.send(to(event, reply))
            continue
        if isinstance(event, Start):
            step = event.title
        yield event
        if isinstance(event, Done):
            if event.error:
                _wait_for_end(process)
                raise _error(event.error, where)
            return
    if silent and not started_for_this and not process.lost and not process.interrupted:
        raise _Gone
    raise refusals.ended_early(_ending(process, item, stray, step), where)


def _wait_for_end(process: Process) -> None:
    """The next request may need the lock that the agent holds until it has ended."""
    deadline = time.monotonic() + LAST_BREATH
    while not isinstance(process.next(timeout=max(0.0, deadline - time.monotonic())), End):
        if time.monotonic() > deadline:
            return


def _ending(process: Process, end: End, said: deque[str], step: str = "") -> Ending:
    return Ending(end.status, process.stderr, tuple(said), process.lost, process.interrupted, step)


def _error(error: dict[str, str], where: Where) -> ProvisionError:
    kind = error.get("kind", "failed")
    if kind in (OLD_PYTHON, NOT_LINUX):
        version, platform = error["message"].split()
        return refusals.old_python(version, where) if kind == OLD_PYTHON else refusals.not_linux(platform, where)
    return ProvisionError(error["message"], error.get("hint", ""), _CODES.get(kind, ExitCode.FAILED))
