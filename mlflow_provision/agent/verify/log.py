"""What the server wrote to its log since a certain moment."""

from __future__ import annotations

import re
import time
from pathlib import Path

from mlflow_provision.agent import command, running
from mlflow_provision.agent.verify.target import Target

_PATIENCE = 2.0  # seconds: the log is written after the answer, and a chain of exceptions not all at once
_ACCESS = re.compile(r' - "[A-Z]+ \S+ HTTP/')
_START = "Traceback (most recent call last)"


class ServerLog:
    """The log from now on: the unit's journal, or the file of a background process."""

    def __init__(self, target: Target) -> None:
        self._unit = target.unit
        self._file = Path((target.service or {}).get("log") or "/nonexistent")
        self._since = time.time()
        self._position = self._file.stat().st_size if self._file.exists() else 0

    def last_exception(self) -> str:
        """The last line of the last traceback; "" when there is none."""
        deadline = time.monotonic() + _PATIENCE
        before = ""
        while True:
            found = _last_exception(self._lines())
            if (found and found == before) or time.monotonic() > deadline or not (self._unit or self._file.exists()):
                return found
            before = found
            time.sleep(0.2)

    def last_words(self) -> str:
        """The lines that tell why a server died, on lines of their own; "" when it said nothing."""
        lines = running.relevant([line for line in self._lines() if not _ACCESS.search(line)])
        return ":\n" + lines if lines else ""

    def _lines(self) -> list[str]:
        if self._unit:
            argv = ["journalctl", "--unit", self._unit, "--no-pager", "--output=cat", f"--since=@{self._since:.6f}"]
            return command.capture(argv).splitlines()
        if not self._file.exists():
            return []
        with self._file.open("rb") as handle:
            handle.seek(self._position)
            return handle.read().decode("utf-8", "replace").splitlines()


def _last_exception(lines: list[str]) -> str:
    found = ""
    inside = False
    for line in lines:
        if line.startswith(_START):
            inside = True
        elif inside and line.strip() and not line.startswith(" "):
            inside, found = False, line.strip()[:300]
    return found
