"""One request: start the agent, tell it what to do, pass on its events, and turn a bad end into an error."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from mlflow_provision.agent.protocol import Done, Event, Start, decode
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import refusals
from mlflow_provision.host.process import End, Line, Process
from mlflow_provision.host.program import NOT_LINUX, OLD_PYTHON, READY
from mlflow_provision.host.refusals import Ending
from mlflow_provision.host.sudo import Sudo
from mlflow_provision.host.where import Where

SUDO_PATIENCE = 30.0  # seconds for sudo to judge a password; a wrong one takes about two
LAST_BREATH = 2.0  # seconds for the agent to end after it said `done`
STRAY_LINES = 50

_CODES = {"locked": ExitCode.LOCKED, "interrupted": ExitCode.INTERRUPTED}


def exchange(start: Callable[[bool], Process], payload: bytes, where: Where, sudo: Sudo) -> Iterator[Event]:
    """`start(with_password)` starts the bootstrap; it is called again when sudo turns out to want a password."""
    while True:
        process = start(sudo.password is not None)
        try:
            ending = _begin(process, payload, sudo.password)
            if ending is None:
                sudo.accepted()
                yield from _events(process, where)
                return
        finally:
            process.close()
        if ending.lost or ending.interrupted or not sudo.after_refusal(ending.stderr):
            raise refusals.never_started(ending, where)


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


def _events(process: Process, where: Where) -> Iterator[Event]:
    stray: deque[str] = deque(maxlen=STRAY_LINES)
    step = ""
    while not isinstance(item := process.next(), End):
        if not isinstance(item, Line):
            continue
        try:
            event = decode(item.text)
        except (ValueError, TypeError):
            stray.append(item.text)
            continue
        if isinstance(event, Start):
            step = event.title
        yield event
        if isinstance(event, Done):
            _wait_for_end(process)
            if event.error:
                raise _error(event.error, where)
            return
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
