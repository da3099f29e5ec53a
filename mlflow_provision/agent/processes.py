"""Processes, read from /proc: which there are, and who has a file open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator


def pids() -> Iterator[int]:
    """Every process there is."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            yield int(entry.name)


def who_has_open(paths: list[str]) -> list[int]:
    """The processes that have one of these files open."""
    wanted = {os.path.realpath(path) for path in paths}
    found = []
    for pid in pids():
        try:
            if any(os.readlink(entry.path) in wanted for entry in os.scandir(f"/proc/{pid}/fd")):
                found.append(pid)
        except OSError:
            continue
    return found


def sockets(of: list[int]) -> set[str]:
    """The inodes of the sockets that these processes hold."""
    found: set[str] = set()
    for pid in of:
        try:
            links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        found.update(link[len("socket:[") : -1] for link in links if link.startswith("socket:["))
    return found


def name(pid: int) -> str:
    """Name and number of a process, for people; 0 is one that we may not know."""
    if not pid:
        return "another program"
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (process {pid})"
    except OSError:
        return f"process {pid}"
