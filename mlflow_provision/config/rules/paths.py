"""Folders on the host: where they may be, and what they may be called."""

from __future__ import annotations

import re

from mlflow_provision.config.wording import shown

LONGEST_PATH = 200
SAFE_PATH = re.compile(r"(~?)(/[A-Za-z0-9._-]+)+")
SYSTEM_FOLDERS = re.compile(
    r"/|/(bin|boot|dev|etc|home|lib|lib64|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var)"
    r"|/usr/(bin|lib|local|sbin|share)|/var/(cache|lib|log|tmp)"
)
HIDDEN_FROM_SERVICES = ("/dev", "/home", "/proc", "/root", "/run", "/sys", "/tmp", "/var/tmp")  # noqa: S108


def path_problem(path: str, scope: str, home: bool) -> str | None:
    """Why `path` cannot be one of our folders on the host; `home` allows `~/...`, which is for user scope."""
    if SYSTEM_FOLDERS.fullmatch(path):
        return f"{shown(path)} belongs to the system: use a folder of its own, such as {path.rstrip('/')}/mlflow"
    if path.startswith("~") and not home:
        return f"{shown(path)} is in a home folder: use an absolute path"
    if not path.startswith(("/", "~/")):
        return f"{shown(path)} is not an absolute path"
    if len(path) > LONGEST_PATH:
        return f"{shown(path)} has {len(path)} characters: use at most {LONGEST_PATH}"
    if not SAFE_PATH.fullmatch(path):
        return f"{shown(path)} cannot be used: name folders with letters, digits, '.', '_' and '-' only"
    if {".", ".."} & set(path.split("/")):
        return f"{shown(path)} goes through '.' or '..': write the path itself"
    if scope == "system":
        return hidden_problem(path)
    return None


def hidden_problem(path: str) -> str | None:
    """The unit is hardened: it has a temporary folder of its own, and no homes and no devices."""
    for hidden in HIDDEN_FROM_SERVICES:
        if inside(path, hidden):
            return f"{shown(path)} is hidden from the service, as all of {hidden} is: use another folder"
    return None


def inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
