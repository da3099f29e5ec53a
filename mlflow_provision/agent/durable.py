"""What has been renamed or written stays so when the power goes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mlflow_provision.agent.names import BESIDE


def sync_folder(path: str) -> None:
    """The names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    """The content of a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def duplicate(source: str, target: str) -> None:
    """A copy of a file with its mode and owner, complete or not there at all."""
    beside = Path(target).with_name(f".{Path(target).name}{BESIDE}")
    beside.unlink(missing_ok=True)
    info = os.stat(source)
    with open(source, "rb") as old:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as new:
            shutil.copyfileobj(old, new)
            if os.geteuid() == 0:
                os.fchown(new.fileno(), info.st_uid, info.st_gid)
            os.fchmod(new.fileno(), info.st_mode & 0o777)
            new.flush()
            os.fsync(new.fileno())
    os.replace(beside, target)
    sync_folder(str(Path(target).parent))
