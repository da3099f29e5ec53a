"""Mode, owner and group of a path: what differs, and setting them."""

from __future__ import annotations

import grp
import os
import pwd
import stat


def ids(owner: str, group: str) -> tuple[int, int]:
    """Numeric owner and group; -1 leaves one alone. Raises KeyError for a name that does not exist (yet)."""
    return (
        pwd.getpwnam(owner).pw_uid if owner else -1,
        grp.getgrnam(group).gr_gid if group else -1,
    )


def difference(path: str, mode: int, owner: str, group: str) -> str:
    """How mode and owner of an existing path differ, in words; "" when they do not."""
    info = os.stat(path)
    found = []
    if stat.S_IMODE(info.st_mode) != mode:
        found.append(f"mode {stat.S_IMODE(info.st_mode):04o} → {mode:04o}")
    try:
        uid, gid = ids(owner, group)
    except KeyError as missing:
        return ", ".join([*found, f"owner {owner}:{group} ({missing.args[0]})"])
    if uid not in (-1, info.st_uid) or gid not in (-1, info.st_gid):
        found.append(f"owner {_name(info)} → {owner}:{group}")
    return ", ".join(found)


def settle(target: int | str, mode: int, owner: str, group: str) -> None:
    """Give a path or an open file its owner and mode. The owner first: chown clears set-id bits."""
    uid, gid = ids(owner, group)
    if (uid, gid) != (-1, -1):
        os.chown(target, uid, gid)
    os.chmod(target, mode)


def _name(info: os.stat_result) -> str:
    try:
        owner = pwd.getpwuid(info.st_uid).pw_name
    except KeyError:
        owner = str(info.st_uid)
    try:
        group = grp.getgrgid(info.st_gid).gr_name
    except KeyError:
        group = str(info.st_gid)
    return f"{owner}:{group}"
