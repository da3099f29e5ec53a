"""Can anybody read what only the server may, or change what it runs?"""

from __future__ import annotations

import grp
import os
import re
import stat
from typing import Iterator

from mlflow_provision.agent.doctor.finding import Finding, bad, ok, some
from mlflow_provision.agent.doctor.patient import Patient

_MOST = 20_000  # files that are looked at
_IN_ARGUMENTS = re.compile(r"\w+://[^/\s:@]+:[^/\s@]+@|AKIA[0-9A-Z]{16}|--(?:admin-)?password[= ]\S+")


def readable(patient: Patient) -> Finding:
    """No secret is open to others, none is in the list of processes, and nobody else may change what is run."""
    loose = dict(wrong(patient))
    problems = [f"{path} ({why})" for path, why in loose.items()]
    if any(_IN_ARGUMENTS.search(line) for line in patient.command_lines):
        problems.append("an argument of the server holds a secret, and everybody on the host can see it: ps -ef")
    if problems:
        known = {patient.files.get(name) for name in ("secrets_env", "server_env", "auth_config", "aws_credentials")}
        fix = {"fix": "mend"} if loose else {}
        return bad(some(problems, 5), paths=list(loose)[:20], ours=sorted(known & set(loose)), **fix)
    return ok("only root and the server can read its secrets")


def wrong(patient: Patient) -> Iterator[tuple[str, str]]:
    """Every path with too many rights, and which."""
    shared = _shared(patient)
    group = _group(patient.user)
    for path in _secret(patient):
        info = _looked_at(path)
        if info is None:
            continue
        if info.st_mode & shared:
            yield path, f"mode {stat.S_IMODE(info.st_mode):04o}: others may {_may(info.st_mode & shared)} it"
        elif patient.user and info.st_mode & stat.S_IRGRP and info.st_gid not in (0, group):
            yield path, f"the group {_name(info.st_gid)} may read it"
    for path in (patient.files["start_script"], patient.files["unit_file"], patient.base):
        info = _looked_at(path) if path else None
        if info is not None and info.st_mode & stat.S_IWOTH:
            yield path, f"mode {stat.S_IMODE(info.st_mode):04o}: anybody may change what the server runs"


def excess(patient: Patient, path: str, info: os.stat_result) -> int:
    """The bits of its mode that must go."""
    if path in (patient.files["start_script"], patient.files["unit_file"], patient.base):
        return stat.S_IWOTH
    foreign = patient.user and info.st_gid not in (0, _group(patient.user))
    return stat.S_IRWXO | (stat.S_IRWXG if foreign or not patient.user else 0)


def _shared(patient: Patient) -> int:
    """The bits of a mode that let others in; in user scope the group may be that of everybody in the house."""
    return stat.S_IRWXO if patient.user else stat.S_IRWXO | stat.S_IRWXG


def _secret(patient: Patient) -> Iterator[str]:
    """Everything below etc, the databases, and what restores and upgrades have put aside."""
    yield patient.data["etc"]
    yield patient.data["kept"]
    seen = 0
    for top in (patient.data["etc"], patient.data["kept"]):
        for folder, folders, files in os.walk(top):
            if top == patient.data["kept"] and not os.lstat(folder).st_mode & _shared(patient):
                folders.clear()  # it is closed: what an upgrade has put aside in it may be as open as it was
                continue
            for name in sorted([*folders, *files]):
                seen += 1
                if seen > _MOST:
                    return
                yield f"{folder}/{name}"
    for path in patient.databases.values():
        yield from (path + ending for ending in ("", "-wal", "-shm", "-journal"))


def _looked_at(path: str) -> os.stat_result | None:
    try:
        info = os.lstat(path)
    except OSError:
        return None
    return None if stat.S_ISLNK(info.st_mode) else info


def _may(bits: int) -> str:
    read = bits & (stat.S_IROTH | stat.S_IRGRP)
    write = bits & (stat.S_IWOTH | stat.S_IWGRP)
    return "read and write" if read and write else "read" if read else "write" if write else "enter"


def _group(user: str) -> int:
    try:
        return grp.getgrnam(user).gr_gid if user else -1
    except KeyError:
        return -1


def _name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
