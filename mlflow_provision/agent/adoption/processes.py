"""Processes, read from /proc: which one is the old server, and who has a file open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator

from mlflow_provision.agent.adoption.script import ServerCommand, starts_server
from mlflow_provision.agent.cgroup import unit_of


def pids() -> Iterator[int]:
    """Every process there is."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            yield int(entry.name)


def running_server(unit: str, tree: str) -> tuple[int, ServerCommand] | None:
    """The `mlflow server` process of this unit, or of this tree; the oldest, which is the parent of its workers."""
    found = []
    for pid in pids():
        try:
            argv = [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
            if not starts_server(argv) or not _is_python(pid):
                continue
            folder = os.readlink(f"/proc/{pid}/cwd")
            if (unit and unit_of(pid) == unit) or (tree and f"{argv[0]}/".startswith(f"{tree}/")):
                found.append((pid, ServerCommand(argv, _environment(pid), folder)))
        except OSError:  # it ended while we looked
            continue
    return min(found, key=lambda one: one[0]) if found else None


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


def name(pid: int) -> str:
    """Name and number of a process, for people."""
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (process {pid})"
    except OSError:
        return f"process {pid}"


def _is_python(pid: int) -> bool:
    """Not the shell or the sudo that has the same words among its own."""
    return "python" in os.path.basename(os.readlink(f"/proc/{pid}/exe"))


def _environment(pid: int) -> dict[str, str]:
    words = [os.fsdecode(word) for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
    return {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
