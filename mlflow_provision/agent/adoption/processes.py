"""Which process is the old server, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path

from mlflow_provision.agent.adoption.script import ServerCommand, starts_server
from mlflow_provision.agent.cgroup import unit_of
from mlflow_provision.agent.processes import pids


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


def _is_python(pid: int) -> bool:
    """Not the shell or the sudo that has the same words among its own."""
    return "python" in os.path.basename(os.readlink(f"/proc/{pid}/exe"))


def _environment(pid: int) -> dict[str, str]:
    words = [os.fsdecode(word) for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
    return {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
