"""Where the replaced databases are kept: `before-<backup>-<time>` in the folder `backup` of the deployment."""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.resources.base import Context
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.restore.wanted import Wanted

_PREFIX = "before-"
RESTORED = "restored.json"  # the journal of the restore that put things there


def make_folders(wanted: Wanted) -> None:
    """The folders that setup makes, where an earlier setup did not yet."""
    owner = wanted.owner
    ours = ("root", owner) if owner else ("", "")
    for path, mode, owned in (
        (wanted.folder, 0o750 if owner else 0o700, ours),
        (wanted.settings.state, 0o700, (owner, owner)),
    ):
        if not os.path.lexists(path):
            Directory("backup", path, mode, *owned).apply(Context())


def make_aside(wanted: Wanted, restored: str) -> tuple[str, str]:
    """A new folder, ours, and one for the databases, the service user's: in it, or on the disk where they are."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = _free(f"{wanted.folder}/{_PREFIX}{restored}-{stamp}")
    owner = wanted.owner
    Directory("before", folder, 0o750 if owner else 0o700, *(("root", owner) if owner else ("", ""))).apply(Context())
    old = f"{folder}/databases"
    Directory("old", old, 0o700, owner, owner).apply(Context())
    if not as_user(owner, lambda: can_be_renamed(wanted.beside, old)):
        os.rmdir(old)
        old = f"{wanted.data}/{os.path.basename(folder)}"
        as_user(owner, lambda: os.makedirs(old, mode=0o700, exist_ok=True))
    return folder, old


def _free(path: str) -> str:
    """This name, or one like it that nothing has."""
    names = itertools.chain([path], (f"{path}-{number}" for number in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))


def can_be_renamed(source: str, target: str) -> bool:
    """Is it the same disk? Mounts and subvolumes have many ways to look like one."""
    probe = f"{source}/.probe"
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    try:
        os.rename(probe, f"{target}/.probe")
    except OSError as error:
        os.unlink(probe)
        if error.errno == errno.EXDEV:
            return False
        raise
    os.unlink(f"{target}/.probe")
    return True


def forget_older(wanted: Wanted, newest: str) -> None:
    """Remove what earlier restores replaced, where it is in a safety backup too, and what killed ones left empty."""
    for folder in glob.glob(f"{glob.escape(wanted.folder)}/{_PREFIX}*"):
        if folder == newest or os.path.islink(folder):
            continue
        noted = _noted(folder)
        if noted.get("answer", {}).get("safety"):
            remove(folder, noted.get("old", ""))
        elif not noted:
            remove_empty(folder, f"{folder}/databases")


def remove_empty(folder: str, old: str) -> None:
    """Remove such a folder unless databases are in it."""
    if not any(names for _, _, names in os.walk(old)):
        remove(folder, old)


def remove(folder: str, old: str) -> None:
    """Remove such a folder, with the databases that it is about."""
    if old:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(old)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _noted(folder: str) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        data = json.loads(Path(folder, RESTORED).read_text("utf-8"))
        return data if isinstance(data, dict) else {}
    return {}
