"""Does everything below the server's data belong to it? A tool that ran as root leaves files that it cannot write."""

from __future__ import annotations

import os
import pwd
import stat
import time
from typing import Iterator

from mlflow_provision.agent.doctor.finding import Finding, Skip, bad, counted, ok, some
from mlflow_provision.agent.doctor.patient import Patient

_BUDGET = 8.0  # seconds: there may be millions of artifacts
_MOST = 20  # paths that are told


def owners(patient: Patient) -> Finding:
    """Every file and folder is the service user's."""
    uid = owner(patient)
    found, seen, whole = [], 0, True
    end = time.monotonic() + _BUDGET
    for path, info in everything(patient):
        seen += 1
        if info.st_uid != uid and not stat.S_ISLNK(info.st_mode):
            found.append(f"{path} ({_name(info.st_uid)})")
        if seen % 1000 == 0 and (time.monotonic() > end or patient.stopping()):
            whole = False
            break
    rest = "" if whole else " (not all were looked at)"
    if found:
        name = _name(uid)
        verb = "does" if len(found) == 1 else "do"
        return bad(
            f"{counted(len(found), 'file')} of the server's {verb} not belong to {name}: {some(found)}{rest}",
            paths=[item.rpartition(" (")[0] for item in found[:_MOST]],
            count=len(found),
            owner=name,
            **({"fix": "mend"} if patient.user else {"no_fix": True}),
        )
    return ok(f"{counted(seen, 'file')} belong{'s' if seen == 1 else ''} to {_name(uid)}{rest}")


def owner(patient: Patient) -> int:
    """The number of the user that the server runs as."""
    if not patient.user:
        return os.geteuid()
    try:
        return pwd.getpwnam(patient.user).pw_uid
    except KeyError:
        raise Skip(f"there is no user {patient.user}") from None


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
