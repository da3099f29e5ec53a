"""To which unit of systemd a process belongs, read from /proc."""

from __future__ import annotations

from pathlib import Path


def unit_of(pid: int) -> str:
    """The systemd unit of a process; "" when it has none, or has ended."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        for part in reversed(line.split("/")):
            if part.endswith(".service"):
                return part
    return ""
