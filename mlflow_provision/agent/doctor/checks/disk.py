"""Is there room left, for bytes and for files?"""

from __future__ import annotations

import os
from typing import Any

from mlflow_provision.agent.doctor.finding import Finding, Skip, bad, ok, warn
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.steps import amount

_GONE, _LITTLE = 0.02, 0.10  # of all there is
_LEAST = 1 << 30  # bytes: a backup copies the databases, an upload is spooled whole
_ENOUGH = 20 << 30  # a tenth of a large disk is a lot
_LEAST_FILES = 0.02, 0.10


def space(patient: Patient) -> Finding:
    """Every disk that the deployment writes to has room."""
    seen, listed = [], []
    for path, info in _places(patient):
        free, total = info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize
        listed.append({"path": path, "free": free, "total": total})
        gone = free < _LEAST or free < total * _GONE
        little = free < total * _LITTLE and free < _ENOUGH
        seen.append((2 if gone else int(little), f"{path}: {amount(free)} of {amount(total)} free"))
    return _worst(seen, places=listed)


def inodes(patient: Patient) -> Finding:
    """Every disk can take more files. Some filesystems have no fixed number of them."""
    seen = []
    for path, info in _places(patient):
        if not info.f_files:
            continue
        free = info.f_favail / info.f_files
        words = f"{path}: {info.f_favail:,} more files ({free:.0%})"
        seen.append((2 if free < _LEAST_FILES[0] else int(free < _LEAST_FILES[1]), words))
    if not seen:
        raise Skip("this filesystem has no limit of files")
    return _worst(seen)


def _worst(seen: list[tuple[int, str]], **data: Any) -> Finding:
    """A verdict over all disks, in the words of those that are the worst."""
    worst = max((weight for weight, _ in seen), default=0)
    words = "; ".join(text for weight, text in seen if weight == worst)
    return (ok, warn, bad)[worst](words, **data)


def _places(patient: Patient) -> list[tuple[str, os.statvfs_result]]:
    """The folders it writes to, one of each disk."""
    found: list[tuple[str, os.statvfs_result]] = []
    devices = set()
    for path in patient.data["disks"]:
        while path and not os.path.isdir(path):
            path = os.path.dirname(path) if path != "/" else ""
        if path and (device := os.stat(path).st_dev) not in devices:
            devices.add(device)
            found.append((path, os.statvfs(path)))
    return found
