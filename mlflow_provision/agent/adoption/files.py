"""Copies the artifacts of the old server; what is there is only read."""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from pathlib import Path
from typing import Callable, Dict, Iterator, List

from mlflow_provision.agent.adoption.places import Moves
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import ownership

Manifest = Dict[str, List[object]]  # path below our artifacts → [size, sha256, mtime in ns]
_DEEPEST = 64  # folders in folders; a link in a circle ends here too
_PIECE = 1 << 20


def listed(moves: Moves) -> Iterator[tuple[str, str]]:
    """Every file below these folders: its path below our artifacts, and where it is now."""
    for source, relative in moves:
        if os.path.isdir(source):
            yield from _below(source, relative, 0)
        elif os.path.isfile(source):
            yield relative, source


def _below(folder: str, relative: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEEPEST:
        return
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        name = f"{relative}/{entry.name}" if relative else entry.name
        if entry.is_dir():
            yield from _below(entry.path, name, depth + 1)
        elif entry.is_file():
            yield name, entry.path


def size(moves: Moves) -> tuple[int, int]:
    """How many files there are, and how many bytes in all."""
    count = total = 0
    for _, path in listed(moves):
        count += 1
        total += os.path.getsize(path)
    return count, total


def copy(
    moves: Moves,
    target: str,
    owner: str,
    reader: str,
    known: Manifest,
    output: Callable[[str], None],
    stopping: Callable[[], bool],
) -> Manifest:
    """Copy everything below our artifacts folder `target`, for the service user `owner`.

    `known` is what an earlier call copied: only what has changed since is copied again, and what is gone is removed.
    `reader` is the old server's user, to whom a link may lead out of the folders.
    """
    tops = [os.path.realpath(source) for source, _ in moves]
    found: Manifest = {}
    done = 0
    for relative, path in listed(moves):
        if stopping():
            raise AgentError("stopped while artifacts were copied", kind="interrupted")
        info = os.stat(path)
        destination = os.path.join(target, relative)
        before = known.get(relative)
        if before and before[0] == info.st_size and before[2] == info.st_mtime_ns and os.path.exists(destination):
            found[relative] = before
            continue
        _make_folders(target, os.path.dirname(relative), owner)
        found[relative] = _copy_one(path, destination, owner, reader, tops)
        done += info.st_size
        output(f"{len(found)} files, {done / 1e6:.0f} MB")
    for relative in set(known) - set(found):
        Path(target, relative).unlink(missing_ok=True)
    return found


def _copy_one(path: str, destination: str, owner: str, reader: str, tops: list[str]) -> list[object]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as source:
        info = os.fstat(source.fileno())
        _refuse_what_was_not_readable(path, info, reader, tops)
        Path(destination).unlink(missing_ok=True)
        made = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        digest, length = hashlib.sha256(), 0
        with os.fdopen(made, "wb") as target:
            for piece in iter(lambda: source.read(_PIECE), b""):
                digest.update(piece)
                length += len(piece)
                target.write(piece)
            ownership.settle(target.fileno(), 0o640, owner, owner)
            os.utime(target.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))
    return [length, digest.hexdigest(), info.st_mtime_ns]


def _refuse_what_was_not_readable(path: str, info: os.stat_result, reader: str, tops: list[str]) -> None:
    """We read as root: a link among the artifacts must not give away what the old server could not read."""
    if not stat.S_ISREG(info.st_mode):
        raise AgentError(f"{path} is no ordinary file", f"move it away: sudo mv {path} /root/")
    real = os.path.realpath(path)
    inside = any(real.startswith(top.rstrip("/") + "/") for top in tops)
    try:
        uid = pwd.getpwnam(reader).pw_uid
    except KeyError:
        uid = -1
    if not (inside or uid == 0 or info.st_uid == uid or info.st_mode & 0o004):
        raise AgentError(f"{path} is a link to {real}, which {reader} cannot read", f"remove it: sudo rm {path}")


def _make_folders(target: str, relative: str, owner: str) -> None:
    path = target
    for part in filter(None, relative.split("/")):
        path = os.path.join(path, part)
        if not os.path.isdir(path):
            os.mkdir(path, 0o750)
            ownership.settle(path, 0o750, owner, owner)
