"""Where the lab keeps its things, and the locks that say whose they are."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.lab.program import run

# Subnets, namespaces and control groups belong to the machine, whatever folder a lab uses.
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


def claim(folder: Path) -> IO[str] | None:
    """Own `folder` until the returned file is closed or this process dies; None if someone else does."""
    try:
        lock = (folder / "owner.lock").open("w")
    except FileNotFoundError:  # its owner just deleted it
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def write_whole(path: Path, text: str) -> None:
    """Write so that another process never reads half of it."""
    partial = path.with_suffix(".new")
    partial.write_text(text)
    partial.rename(path)


def delete_tree(folder: Path) -> None:
    """Delete, but never reach into something that is still mounted below."""
    run(["rm", "-rf", "--one-file-system", "--", str(folder)])
