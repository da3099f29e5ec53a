"""The most memory that some processes of a lab host ever held."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import LabHost

PAUSE = 0.05  # seconds between two looks; each process remembers its own peak, so a short one is not missed
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_PARENT = re.compile(r"^PPid:\s+(\d+)", re.MULTILINE)


class Peak:
    """`megabytes`: what each of the processes held at its own most (resident), added up."""

    def __init__(self, host: LabHost, command: str) -> None:
        self._host = host
        self._command = command.encode()
        self._peaks: dict[int, int] = {}

    @property
    def megabytes(self) -> float:
        return sum(self._peaks.values()) / 1024

    def look(self) -> None:
        """At every process whose arguments contain the command, and at all that these have started."""
        parents: dict[int, int] = {}
        peaks: dict[int, int] = {}
        ours: set[int] = set()
        for process in self._host.place.group.processes():
            try:
                status = Path(f"/proc/{process}/status").read_text()
                arguments = Path(f"/proc/{process}/cmdline").read_bytes()
            except OSError:
                continue  # it has just ended
            parent, peak = _PARENT.search(status), _PEAK.search(status)
            if parent and peak:  # one that is ending has no memory any more
                parents[process], peaks[process] = int(parent[1]), int(peak[1])
            if self._command in arguments:
                ours.add(process)
        for process in (ours | descendants(parents, ours)) & set(peaks):
            self._peaks[process] = max(self._peaks.get(process, 0), peaks[process])


def descendants(parents: dict[int, int], ancestors: set[int]) -> set[int]:
    """All processes that came from these, in whatever generation."""
    found: set[int] = set()
    while new := {child for child, parent in parents.items() if parent in ancestors | found} - found:
        found |= new
    return found


@contextmanager
def watched(host: LabHost, command: str) -> Iterator[Peak]:
    """Look until the block ends."""
    peak, ended = Peak(host, command), threading.Event()

    def look() -> None:
        while not ended.wait(PAUSE):
            peak.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
