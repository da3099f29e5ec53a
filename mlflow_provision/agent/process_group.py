"""A process group known by a pid file that cannot be fooled by a reused pid."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

STOP_SECONDS = 20.0  # MLflow needs 1-4 s, with job runners 8-9 s


def remember(pid_file: str, pid: int) -> None:
    """Write the pid and the moment it started, which is counted from the boot."""
    Path(pid_file).write_text(f"{pid} {_started(pid)} {_boot()}\n")


def leader(pid_file: str) -> int:
    """The pid in the file if that very process still lives, else 0."""
    pid, started, _ = _remembered(pid_file)
    return pid if pid and _started(pid) == started else 0


def group(pid_file: str) -> int:
    """The pid in the file if any process of its group still lives, else 0: workers outlive a leader that was killed."""
    pid, started, boot = _remembered(pid_file)
    if not pid or _started(pid) == started:
        return pid
    # As long as there is a group, its number is given to no new process.
    return pid if boot == _boot() and not _started(pid) and members(pid) else 0


def members(pid: int) -> list[int]:
    """Every living process of the group that `pid` leads."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and fields[2] == str(pid):
                found.append(int(entry.name))
    return found


def end(pid_file: str) -> None:
    """End the whole group, gently and then for good, and forget it."""
    pid = group(pid_file)
    if pid:
        for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
            deadline = time.monotonic() + seconds
            while members(pid) and time.monotonic() < deadline:
                time.sleep(0.05)
    Path(pid_file).unlink(missing_ok=True)


def age(pid: int) -> float:
    """Seconds since a process started; 0 when there is none."""
    fields = _stat(pid)
    if not fields:
        return 0.0
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return round(uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK"), 1)


def _stat(pid: int) -> list[str]:
    """Fields 3 and up of /proc/PID/stat (the name before them may hold anything); [] when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []
    return [] if fields[0] in "ZX" else fields


def _remembered(pid_file: str) -> tuple[int, str, str]:
    try:
        pid, started, boot = Path(pid_file).read_text().split()
        return int(pid), started, boot
    except (OSError, ValueError):
        return 0, "", ""


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> str:
    fields = _stat(pid)
    return fields[19] if fields else ""
