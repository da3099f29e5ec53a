"""The disks on which a deployment's folders are, and the room that is left there."""

from __future__ import annotations

import os
from typing import Any


def disks(folders: dict[str, str]) -> list[dict[str, Any]]:
    """Each disk once: its `mount` point, which of the `folders` it `holds`, and its `size`, what is `free` (bytes,
    without root's reserve) and `inodes_free` (a part of 1; None where the disk counts none)."""
    found: dict[str, dict[str, Any]] = {}
    for name, folder in folders.items():
        mount = mount_point(folder)
        if mount in found:
            found[mount]["holds"].append(name)
            continue
        room = os.statvfs(mount)
        found[mount] = {
            "mount": mount,
            "holds": [name],
            "size": room.f_blocks * room.f_frsize,
            "free": room.f_bavail * room.f_frsize,
            "inodes_free": round(room.f_favail / room.f_files, 4) if room.f_files else None,
        }
    return list(found.values())


def mount_point(path: str) -> str:
    """The topmost folder on the same disk as a path, or as what there is of it."""
    path = os.path.realpath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    device = os.stat(path).st_dev
    while path != "/" and os.stat(os.path.dirname(path)).st_dev == device:
        path = os.path.dirname(path)
    return path
