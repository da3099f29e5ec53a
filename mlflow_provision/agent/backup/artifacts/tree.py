"""A folder whose names may be hostile: every step goes through open folders, and no symbolic link is followed."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import Callable, Iterator

from mlflow_provision.agent.backup.artifacts.index import FILE, FOLDER, LINK, shown
from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.protocol import AgentError

PART = b".mlflow-provision-part"  # what a restore is writing just now; a killed one leaves it
# Files that are being written, by us and by MLflow, which shows its own to nobody either (`_TEMP_ARTIFACT_PREFIX` in
# local_artifact_repo.py).
_NO_ARTIFACTS = (PART, b".artifact.uploading.")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_VANISHED = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True)
class Found:
    """Something in the folder. `kind` "" is what cannot be backed up: sockets, pipes, devices."""

    path: bytes
    kind: str
    size: int = 0
    mtime_ns: int = 0
    mode: int = 0
    target: bytes = b""


@contextlib.contextmanager
def opened(folder: str) -> Iterator[int]:
    """The folder itself, which may be behind a symbolic link. Raises AgentError of kind "source"."""
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AgentError(
            f"the artifacts folder cannot be opened: {error.strerror}: {folder}",
            f"see whether its disk is mounted, and whose it is: ls -ld {folder}; findmnt -T {folder}",
            "source",
        ) from None
    try:
        yield root
    finally:
        os.close(root)


def descend(root: int, path: bytes) -> int:
    """A descriptor of the folder `path` below `root` (b"" is itself). Raises OSError."""
    current = os.dup(root)
    try:
        for part in filter(None, path.split(b"/")):
            following = os.open(part, _DIRECTORY, dir_fd=current)
            os.close(current)
            current = following
    except BaseException:
        os.close(current)
        raise
    return current


def walk(root: int, stopping: Callable[[], bool]) -> Iterator[Found]:
    """Everything below, folders before what is in them; names of one folder in order, one folder at a time in memory.
    Left out are files that are just being written, and what vanishes meanwhile. Raises AgentError for a folder that
    cannot be read."""
    folders = [b""]
    while folders:
        path = folders.pop()
        raise_if(stopping)
        try:
            descriptor = descend(root, path)
        except _VANISHED:
            continue
        except OSError as error:
            if path == b"lost+found":  # of a disk that is mounted here; root's alone
                continue
            raise unreadable(path, error) from None
        try:
            if path:
                status = os.fstat(descriptor)
                yield Found(path, FOLDER, 0, status.st_mtime_ns, stat.S_IMODE(status.st_mode))
            inside = []
            for name in sorted(map(os.fsencode, os.listdir(descriptor))):
                unfinished = name.startswith(_NO_ARTIFACTS)
                found = None if unfinished else _look(descriptor, name, path + b"/" + name if path else name)
                if found and found.kind == FOLDER:
                    inside.append(found.path)
                elif found:
                    yield found
        finally:
            os.close(descriptor)
        folders += reversed(inside)


def unreadable(path: bytes, error: OSError) -> AgentError:
    """An artifact that must not be missing in a backup, but cannot be read."""
    return AgentError(
        f"an artifact cannot be read: {error.strerror}: {shown(path)}",
        "give it to the service user, or move it out of the artifacts folder, then back up again",
        "source",
    )


def _look(descriptor: int, name: bytes, path: bytes) -> Found | None:
    try:
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
        if kind == stat.S_IFLNK:
            return Found(path, LINK, target=os.readlink(name, dir_fd=descriptor))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    names = {stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER}
    return Found(path, names.get(kind, ""), status.st_size, status.st_mtime_ns, mode)
