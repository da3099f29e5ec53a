"""Does everything below the server's data belong to it? A tool that ran as root leaves files that it cannot write."""

from __future__ import annotations

import os
import pwd
import stat
import time
from typing import Iterator

from mlflow_provision.agent.databases.contents import BESIDE
from mlflow_provision.agent.doctor.finding import Finding, Skip, bad, counted, ok, some
from mlflow_provision.agent.doctor.patient import Patient

_BUDGET = 8.0  # seconds: there may be millions of artifacts
_MOST = 20  # paths that are told


def owners(patient: Patient) -> Finding:
    """Every file and folder is the service user's, who can write its databases and folders."""
    found, seen, whole = [], 0, True
    end = time.monotonic() + _BUDGET
    for path, info in everything(patient):
        seen += 1
        if why := _wrong(path, info, patient):
            found.append((path, why))
        if seen % 1000 == 0 and (time.monotonic() > end or patient.stopping()):
            whole = False
            break
    rest = "" if whole else " (not all were looked at)"
    name = _name(owner(patient))
    if found:
        return bad(
            f"{counted(len(found), 'file')} that {name} must be able to write: "
            f"{some([f'{path} ({why})' for path, why in found])}{rest}",
            paths=[path for path, _ in found[:_MOST]],
            count=len(found),
            owner=name,
            **({"fix": "mend"} if patient.user else {"no_fix": True}),
        )
    return ok(f"{counted(seen, 'file')} belong{'s' if seen == 1 else ''} to {name}{rest}")


def trouble(path: str, patient: Patient) -> str:
    """What is wrong with the owner or the mode of one of them; "" when nothing is."""
    try:
        return _wrong(path, os.lstat(path), patient)
    except OSError:
        return ""


def _wrong(path: str, info: os.stat_result, patient: Patient) -> str:
    if stat.S_ISLNK(info.st_mode):  # one of root's leads to a larger disk
        return ""
    if info.st_uid != owner(patient):
        return f"it belongs to {_name(info.st_uid)}"
    needed = needs(path, info, patient)
    if info.st_mode & needed != needed:
        return f"mode {stat.S_IMODE(info.st_mode):04o}"
    return ""


def needs(path: str, info: os.stat_result, patient: Patient) -> int:
    """The bits without which the server cannot work; an artifact may be of any mode."""
    if stat.S_ISDIR(info.st_mode):
        return stat.S_IRWXU
    beside = [base + ending for base in patient.databases.values() for ending in ("", *BESIDE)]
    return stat.S_IRUSR | stat.S_IWUSR if path in beside else 0


def owner(patient: Patient) -> int:
    """The number of the user that the server runs as."""
    if not patient.user:
        return os.geteuid()
    if not patient.owner_exists:
        raise Skip(f"there is no user {patient.user}")
    return pwd.getpwnam(patient.user).pw_uid


def group(patient: Patient) -> int:
    """The number of its own group."""
    return pwd.getpwnam(patient.user).pw_gid


def everything(patient: Patient) -> Iterator[tuple[str, os.stat_result]]:
    """What the server writes: files and folders, without following a link."""
    for top in patient.data["written"]:
        if not os.path.isdir(top):
            continue
        yield top, os.stat(top)
        for folder, folders, files in os.walk(top):
            for name in (*folders, *files):
                path = f"{folder}/{name}"
                try:
                    yield path, os.lstat(path)
                except OSError:  # it went while we looked
                    continue


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
