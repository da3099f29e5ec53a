"""Where the lab keeps its things, and the locks that say whose they are."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.lab.program import run

# Subnets, namespaces and control groups belong to the machine, whatever folder a lab uses.
DELETING = 600.0  # seconds that nobody takes to delete a host
MACHINE_LOCK = Path("/run/mlflow-lab.lock")


def lab_dir() -> Path:
    """The cache and state of the lab; outlives test runs."""
    return Path(os.environ.get("MLFLOW_LAB_DIR") or "/var/tmp/mlflow-lab").absolute()


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Wait for, then hold, the lock file `path`. A program that is given the descriptor holds it too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def claim_new(folder: Path) -> IO[str]:
    """Own a folder that was just made, under the machine's lock."""
    (folder / "owner.lock").touch()
    owner = claim(folder)
    assert owner is not None, "the folder is new and the machine's lock is ours"
    return owner


def claim(folder: Path) -> IO[str] | None:
    """Own `folder` until the returned file is closed or this process dies; None if someone else does."""
    file = folder / "owner.lock"
    try:
        # Not created: a lock made in a folder that its owner is deleting would keep it from being deleted.
        lock = file.open("r+") if not _deserted(folder) else file.open("a")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _deserted(folder: Path) -> bool:
    """Was whoever deleted it killed half-way, long ago?"""
    try:
        return time.time() - folder.stat().st_mtime > DELETING and not (folder / "owner.lock").exists()
    except FileNotFoundError:
        return False


def write_whole(path: Path, text: str) -> None:
    """Write so that another process never reads half of it."""
    partial = path.with_suffix(".new")
    partial.write_text(text)
    partial.rename(path)


def delete_tree(folder: Path) -> None:
    """Delete, but never reach into something that is still mounted below."""
    run(["rm", "-rf", "--one-file-system", "--", str(folder)])
