"""Puts right what no resource of a setup does: whose files are, who may read them, what lies about."""

from __future__ import annotations

import os
import shutil
import stat
from typing import Any, Callable

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.doctor import MENDABLE
from mlflow_provision.agent.doctor.checks import litter, owners, secrets
from mlflow_provision.agent.doctor.finding import counted
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.protocol import CHANGED, OK, AgentError, Event
from mlflow_provision.agent.steps import amount, step


def mend(data: dict[str, Any], emit: Callable[[Event], None], stopping: Callable[[], bool]) -> dict[str, str]:
    """Mend what these checks find now: check → what was done. Whoever asks holds the lock of the host."""
    patient = Patient(data, stopping)
    done = {}
    for check in data["mend"]:
        if check not in MENDABLE:
            raise AgentError(f"{check} cannot be mended like this", "see what it says: mlflow-provision doctor NAME")
        with step(emit, check, check) as told:
            told.summary = _MENDERS[check](patient)
            told.verdict = CHANGED if told.summary else OK
        done[check] = told.summary or "nothing was left to do"
    return done


def _hand_over(patient: Patient) -> str:
    """Everything that the server writes belongs to it again."""
    if not patient.user:
        raise AgentError("only root can give files away", "run it with sudo, or remove those files")
    uid = owners.owner(patient)
    gid = owners.group(patient)
    number = 0
    for top in patient.data["written"]:
        if not os.path.isdir(top):
            continue
        folder = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            number += _handed_over(folder, top, uid, gid, patient)
        finally:
            os.close(folder)
    return f"{counted(number, 'file')} given to {patient.user}" if number else ""


def _handed_over(folder: int, top: str, uid: int, gid: int, patient: Patient) -> int:
    """Without following a link: whoever owns a folder may put one there at any time."""
    number = int(_settled(folder, os.fstat(folder), top, uid, gid, patient))
    for place, folders, files, inside in os.fwalk(".", dir_fd=folder):
        for name in (*folders, *files):
            try:
                entry = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
            except FileNotFoundError:
                continue
            try:
                path = os.path.normpath(f"{top}/{place}/{name}")
                number += _settled(entry, os.fstat(entry), path, uid, gid, patient)
            finally:
                os.close(entry)
    return number


def _settled(entry: int, info: os.stat_result, path: str, uid: int, gid: int, patient: Patient) -> bool:
    """Owner and mode of what is open; was there anything to do?"""
    linked = stat.S_ISREG(info.st_mode) and info.st_nlink > 1  # it may belong elsewhere, too
    if linked or not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
        return False
    needed = owners.needs(path, info, patient)
    wrong = info.st_uid != uid
    if wrong:
        os.chown(f"/proc/self/fd/{entry}", uid, gid)
    if info.st_mode & needed != needed:
        os.chmod(f"/proc/self/fd/{entry}", stat.S_IMODE(info.st_mode) | needed)
        wrong = True
    return wrong


def _close(patient: Patient) -> str:
    """Nobody but the owner, and the group where it is the server's own, has any right any more."""
    closed = []
    for path, _ in list(secrets.wrong(patient)):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            info = os.fstat(descriptor)
            if stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode):
                os.fchmod(descriptor, stat.S_IMODE(info.st_mode) & ~secrets.excess(patient, path, info))
                closed.append(path)
        finally:
            os.close(descriptor)
    return f"closed to others: {', '.join(closed)}" if closed else ""


def _tidy(patient: Patient) -> str:
    """What lies about goes."""
    found = list(litter.left(patient))
    size = litter.size(found)
    temporary = patient.data["tmp"] + "/"
    theirs = [path for path in found if path.startswith(temporary)]
    # In the server's folder as the server: it could put a link there at any time.
    as_user(patient.user, lambda: _removed(theirs))
    _removed([path for path in found if not path.startswith(temporary)])
    still = [path for path in found if os.path.lexists(path)]
    if still:
        raise AgentError(f"{still[0]} cannot be removed", f"see whose it is: sudo ls -ld {still[0]}")
    return f"{counted(len(found), 'leftover')} removed, {amount(size)}" if found else ""


def _removed(paths: list[str]) -> None:
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.lexists(path):
            os.unlink(path)


_MENDERS: dict[str, Callable[[Patient], str]] = {
    "files-owner": _hand_over,
    "secrets-readable": _close,
    "tmp-litter": _tidy,
}
