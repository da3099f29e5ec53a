"""The journal of a unit, as journald keeps it: rotation, restarts of the server and of journald lose no line."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import time
from typing import Any, Callable, Iterator

from mlflow_provision.agent import command
from mlflow_provision.agent.logs.entry import Entry
from mlflow_provision.agent.protocol import AgentError

_PLACES = ("/var/log/journal", "/run/log/journal")
_LOOK = 0.2  # seconds between two looks at whether to stop
_AGAIN = 1.0  # seconds until a journalctl that ended is started again
_SEVERE = 3  # "err" in syslog's levels
_BAD_WORDS = ("Failed with result", "code=dumped", "code=killed", "oom-kill", "OOM killer", "Failed to start")


class Journal:
    """What the unit wrote, and what systemd says of it."""

    def __init__(self, unit: str, stopping: Callable[[], bool]) -> None:
        self._unit = unit
        self._stopping = stopping
        self._cursor = ""
        self._began = time.time()

    def history(self, since: float | None) -> Iterator[Entry]:
        """From `since` (seconds since 1970) until now."""
        yield from self._entries(_from(since))
        self._exists()

    def newest(self, since: float | None, count: int, wanted: Callable[[Entry], bool]) -> list[Entry]:
        """The last so many of those that are wanted, the oldest first; it stops looking when it has them."""
        found: list[Entry] = []
        cursor = ""
        for entry in self._entries([*_from(since), "--reverse"]):
            cursor = cursor or self._cursor
            if wanted(entry):
                found.append(entry)
            if len(found) == count:
                break
        self._cursor = cursor
        self._exists()
        return found[::-1]

    def further(self) -> Iterator[Entry]:
        """What comes after the history, until somebody wants us to stop."""
        while not self._stopping():
            where = f"--after-cursor={self._cursor}" if self._cursor else f"--since=@{self._began:.6f}"
            yield from self._entries(["--follow", "--no-tail", where])
            deadline = time.monotonic() + _AGAIN
            while time.monotonic() < deadline and not self._stopping():
                time.sleep(_LOOK)

    def _exists(self) -> None:
        if not self._cursor and not any(map(os.path.isdir, _PLACES)):
            raise AgentError(
                "this host keeps no journal, so there is no log", "see Storage= in: man journald.conf, then restart it"
            )

    def _entries(self, options: list[str]) -> Iterator[Entry]:
        # --all: without it a line of more than 4 kB comes as null.
        fields = "--output-fields=MESSAGE,PRIORITY,_PID"
        argv = ["journalctl", "--unit", self._unit, "--quiet", "--no-pager", "--all", "--output=json", fields]
        for line in _lines([*argv, *options], self._stopping):
            try:
                item = json.loads(line)
                entry = _entry(item)
            except (ValueError, KeyError, TypeError):
                continue
            self._cursor = item.get("__CURSOR", self._cursor)
            yield entry


def _from(since: float | None) -> list[str]:
    return [f"--since=@{since:.6f}"] if since is not None else []


def _entry(item: dict[str, Any]) -> Entry:
    at = int(item["__REALTIME_TIMESTAMP"]) / 1e6
    text = _text(item.get("MESSAGE"))
    of_systemd = item.get("_PID") == "1"
    severe = of_systemd and (int(item.get("PRIORITY", 6)) <= _SEVERE or any(words in text for words in _BAD_WORDS))
    return Entry(at, text, severe, ours=not of_systemd)


def _text(message: Any) -> str:
    """journald gives bytes that are no text as a list of numbers, and the lines of one message as a list of texts."""
    if isinstance(message, list):
        if all(isinstance(part, int) for part in message):
            return bytes(message).decode("utf-8", "replace")
        return " ".join(map(str, message))
    return str(message or "")


def _lines(argv: list[str], stopping: Callable[[], bool]) -> Iterator[str]:
    """What a program prints, line by line, until it ends or somebody wants us to stop. It does not outlive us."""
    prctl = ctypes.CDLL(None).prctl
    try:
        process = subprocess.Popen(
            argv,
            env={"PATH": command.SYSTEM_PATH, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: prctl(command.PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    except FileNotFoundError:
        raise AgentError("this host has no journalctl", "is it run by systemd?") from None
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    pending = b""
    try:
        while not stopping():
            if not select.select([process.stdout], [], [], _LOOK)[0]:
                continue
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                break
            *whole, pending = (pending + chunk).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
