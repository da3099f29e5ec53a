"""What has been left behind: by uploads that broke off, by runs of ours that were killed."""

from __future__ import annotations

import os
import time
from typing import Callable, Iterator

from mlflow_provision.agent.doctor.finding import Finding, counted, ok, some, warn
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.names import BESIDE
from mlflow_provision.agent.resources.release import STAMP
from mlflow_provision.agent.steps import amount

_DAY = 86400.0
_HOUR = 3600.0
_MOST = 20  # paths that are told


def litter(patient: Patient) -> Finding:
    """Nothing old lies about that nobody needs."""
    found = list(left(patient))
    if not found:
        return ok("nothing lies about")
    total = size(found)
    return warn(
        f"{counted(len(found), 'leftover')}, {amount(total)}: {some(found)}",
        paths=found[:_MOST],
        count=len(found),
        bytes=total,
        fix="mend",
    )


def left(patient: Patient) -> Iterator[str]:
    """Their paths. What is younger may be somebody's who is at work right now."""
    yield from _old_in(patient.data["tmp"], _DAY)
    for folder in (patient.base, patient.data["etc"], patient.data["root"]):
        yield from _old_in(folder, _HOUR, lambda path: path.endswith(BESIDE))
    yield from _old_in(patient.data["releases"], _HOUR, _is_half_a_release)


def size(paths: list[str]) -> int:
    """Bytes of all of them."""
    return sum(_size(path) for path in paths)


def _is_half_a_release(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path) and not os.path.exists(f"{path}/{STAMP}")


def _old_in(folder: str, seconds: float, wanted: Callable[[str], bool] = lambda path: True) -> list[str]:
    """What lies in a folder and has not been touched for so long."""
    now = time.time()
    found = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    for entry in entries:
        try:
            if wanted(entry.path) and now - _touched(entry.path) > seconds:
                found.append(entry.path)
        except OSError:
            continue
    return found


def _touched(path: str) -> float:
    """When it, or anything in it, was last changed."""
    newest = os.lstat(path).st_mtime
    if os.path.isdir(path) and not os.path.islink(path):
        for folder, _, files in os.walk(path):
            newest = max([newest, os.lstat(folder).st_mtime, *(_mtime(f"{folder}/{name}") for name in files)])
    return newest


def _mtime(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return time.time()


def _size(path: str) -> int:
    if not os.path.lexists(path):
        return 0
    if os.path.islink(path) or not os.path.isdir(path):
        return os.lstat(path).st_size
    return sum(
        os.lstat(f"{folder}/{name}").st_size
        for folder, _, files in os.walk(path)
        for name in files
        if os.path.lexists(f"{folder}/{name}")
    )
