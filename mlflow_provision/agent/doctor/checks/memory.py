"""Has the kernel ended the server, or something else, because memory ran out?"""

from __future__ import annotations

import re
import time
from pathlib import Path

from mlflow_provision.agent.doctor.finding import Finding, ago, bad, counted, ok, warn
from mlflow_provision.agent.doctor.journal import DAYS, Line
from mlflow_provision.agent.doctor.patient import Patient

_DAY = 86400.0
_LITTLE = 0.05  # of all memory
_KILLED = re.compile(r"Killed process \d+ \(([^)]+)\)")


def killed(patient: Patient) -> Finding:
    """Memory has not run out, and does not right now."""
    ours = _of_the_server(patient)
    total, available = _memory()
    numbers = {"total": total, "available": available}
    if ours:
        last = max(line.at for line in ours)
        words = (
            f"memory ran out {counted(len(ours), 'time')} in the last {DAYS} days, "
            f"the last time {ago(time.time() - last)}: "
            f"{ours[-1].text.strip()[:200]} (this host has {total / 2**30:.1f} GiB)"
        )
        recent = time.time() - last < _DAY
        return (bad if recent else warn)(words, count=len(ours), last=last, **numbers)
    others = [line for line in patient.journal.kernel if _KILLED.search(line.text)]
    if others:
        match = _KILLED.search(others[-1].text)
        name = match[1] if match else "a program"
        return warn(
            f"memory ran out on this host {counted(len(others), 'time')} in the last {DAYS} days, and the kernel ended "
            f"{name} {ago(time.time() - others[-1].at)}",
            count=len(others),
            **numbers,
        )
    if total and available < total * _LITTLE:
        return warn(f"{available >> 20} MiB of {total >> 20} MiB of memory are left", **numbers)
    return ok(
        f"the kernel has ended nothing in the last {DAYS} days; {available >> 20} MiB of {total >> 20} are free",
        **numbers,
    )


def _of_the_server(patient: Patient) -> list[Line]:
    group = f"/{patient.unit}" if patient.unit else "\0"
    found = [line for line in patient.journal.systemd if "OOM killer" in line.text or "'oom-kill'" in line.text]
    if not found:  # one death makes several lines, here and there
        found = [line for line in patient.journal.kernel if line.text.startswith("oom-kill:") and group in line.text]
    found += [line for line in patient.journal.server if line.text.startswith("MemoryError")]
    return sorted(_apart(found), key=lambda line: line.at)


def _apart(lines: list[Line]) -> list[Line]:
    """One line of each death: what follows within seconds belongs to it."""
    kept: list[Line] = []
    for line in sorted(lines, key=lambda one: one.at):
        if not kept or line.at - kept[-1].at > 5:
            kept.append(line)
    return kept


def _memory() -> tuple[int, int]:
    """Bytes in all, and bytes that can still be had."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return 0, 0
    values = {name: int(amount) << 10 for name, amount in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return values.get("MemTotal", 0), values.get("MemAvailable", 0)
