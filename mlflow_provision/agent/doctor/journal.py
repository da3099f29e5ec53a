"""What was written of a server: by itself, by systemd about it, and by the kernel."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from mlflow_provision.agent import command, running

DAYS = 7  # that systemd and the kernel are asked about
HOURS = 24  # that the server's own words are looked through
_LINES = 20_000  # the newest ones: a busy server writes a line per request
_TAIL = 4 << 20  # bytes of a log file
_SHORT_UNIX = re.compile(r"^(\d+\.\d+) \S+ [^:]*?(?:\[\d+\])?: ?(.*)$")
_CHATTER = re.compile(r" INFO:? |still experimental| - \"[A-Z]+ \S+ HTTP/")
_STAMP = re.compile(r"^(?:--- start )?(\d{4})[-/](\d\d)[-/](\d\d)[ T](\d\d):(\d\d):(\d\d)")


@dataclass(frozen=True)
class Line:
    """A line of a log: when (seconds since 1970), and what."""

    at: float
    text: str


class Journal:
    """The journal of a unit, or the log file of a background process (`unit` "")."""

    def __init__(self, unit: str, log: str) -> None:
        self.unit = unit
        self.log = log

    @cached_property
    def server(self) -> list[Line]:
        """What the server itself wrote in the last hours. Not kept: see `again`."""
        if self.unit:
            return self._asked(f"_SYSTEMD_UNIT={self.unit}", f"--since=-{HOURS}h", f"--lines={_LINES}")
        return [line for line in _of_file(self.log) if line.at > time.time() - HOURS * 3600]

    def again(self) -> list[Line]:
        """The same, with what was written since."""
        self.__dict__.pop("server", None)
        return self.server

    @cached_property
    def systemd(self) -> list[Line]:
        """What systemd wrote about the unit in the last days; nothing in user scope."""
        # As root: who is not root cannot say that a unit has died.
        return self._asked(f"UNIT={self.unit}", "_UID=0", f"--since=-{DAYS}d", "--lines=5000") if self.unit else []

    @cached_property
    def kernel(self) -> list[Line]:
        """What the kernel wrote in the last days, where one may read it."""
        return self._asked("_TRANSPORT=kernel", f"--since=-{DAYS}d", "--lines=5000")

    def last_words(self, most: int) -> str:
        """The newest lines in which the server says what is wrong; "" when it says nothing of the kind."""
        telling = [line.text for line in self.server[-400:] if not _CHATTER.search(line.text)]
        return running.relevant(telling, most)

    @staticmethod
    def _asked(*arguments: str) -> list[Line]:
        argv = ["journalctl", "--no-pager", "--quiet", "--output=short-unix", *arguments]
        found = []
        for line in command.capture(argv, timeout=20.0).splitlines():
            match = _SHORT_UNIX.match(line)
            if match:
                found.append(Line(float(match[1]), match[2]))
        return found


def _of_file(path: str) -> list[Line]:
    """A log has the time in some lines only: the others are as old as the one before."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, Path(path).stat().st_size - _TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    at = 0.0
    found = []
    for line in text.splitlines():
        match = _STAMP.match(line)
        if match:
            year, month, day, hour, minute, second = map(int, match.groups())
            with contextlib.suppress(ValueError):
                at = datetime(year, month, day, hour, minute, second).timestamp()
        found.append(Line(at, line))
    return found
