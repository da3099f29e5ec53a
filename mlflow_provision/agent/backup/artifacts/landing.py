"""The folder that artifacts are restored into: nothing is written outside of it, nothing in it is lost."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from typing import Iterator

from mlflow_provision.agent.backup.artifacts.tree import PART, descend

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_ALL = 0o700  # what we need of a folder while we write into it


class Landing:
    """`root` is a descriptor of the folder; `aside` is where that goes what stands in the way, made when needed."""

    def __init__(self, root: int, aside: str) -> None:
        self._root, self._aside = root, aside
        self._near: tuple[bytes, int] | None = None  # the folder that was used last
        self.moved = 0

    def close(self) -> None:
        self._leave()

    def look(self, path: bytes) -> os.stat_result | None:
        """What is there, itself and not what it may link to; None: nothing, or not in a real folder."""
        parent, _, name = path.rpartition(b"/")
        try:
            return os.stat(name, dir_fd=self._at(parent), follow_symlinks=False)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise

    def link_target(self, path: bytes) -> bytes:
        parent, _, name = path.rpartition(b"/")
        return os.readlink(name, dir_fd=self._at(parent))

    def make_folder(self, path: bytes, mode: int) -> bool:
        """See to it that there is a folder that we can write into. Returns whether there was none."""
        parent, _, name = path.rpartition(b"/")
        status = self.look(path)
        if status and not stat.S_ISDIR(status.st_mode):
            self.set_aside(path)
            status = None
        if status:
            if stat.S_IMODE(status.st_mode) & _ALL != _ALL:
                os.chmod(name, stat.S_IMODE(status.st_mode) | _ALL, dir_fd=self._at(parent))
            return False
        os.mkdir(name, mode & 0o777 | _ALL, dir_fd=self._parent(path))
        return True

    def adjust(self, path: bytes, mode: int, mtime_ns: int | None) -> None:
        """Give a file or folder its mode, and its time. What belongs to somebody else stays as it is."""
        status = self.look(path)
        if status is None or stat.S_ISLNK(status.st_mode):
            return
        parent, _, name = path.rpartition(b"/")
        folder = self._at(parent)
        with contextlib.suppress(PermissionError):
            if status.st_mode & 0o777 != mode & 0o777:
                special = status.st_mode & 0o7000  # of a folder that hands on its group
                os.chmod(name, special | mode & 0o777, dir_fd=folder)
            if mtime_ns is not None and status.st_mtime_ns != mtime_ns:
                os.utime(name, ns=(status.st_atime_ns, mtime_ns), dir_fd=folder, follow_symlinks=False)

    def link(self, path: bytes, target: bytes) -> None:
        """A symbolic link, in place of whatever is there."""
        if self.look(path):
            self.set_aside(path)
        os.symlink(target, path.rpartition(b"/")[2], dir_fd=self._parent(path))

    @contextlib.contextmanager
    def file(self, path: bytes) -> Iterator[int]:
        """A new file to write to, which nobody sees until it is put into place. Left behind, it is removed."""
        folder = os.dup(self._parent(path))
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(PART, dir_fd=folder)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(PART, flags, 0o600, dir_fd=folder)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(PART, dir_fd=folder)
        finally:
            os.close(folder)

    def place(self, path: bytes, descriptor: int, mode: int, mtime_ns: int) -> None:
        """Put the file that is being written where it belongs."""
        os.fchmod(descriptor, mode & 0o777)
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        if self.look(path):
            self.set_aside(path)
        folder = self._parent(path)
        os.rename(PART, path.rpartition(b"/")[2], src_dir_fd=folder, dst_dir_fd=folder)

    def set_aside(self, path: bytes) -> None:
        """Move away what is there, under the same path; under another name when that is taken."""
        os.makedirs(self._aside, 0o700, exist_ok=True)
        root = os.open(self._aside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            parent, _, name = path.rpartition(b"/")
            target = _made(root, parent)
            try:
                _move(self._at(parent), name, target, _free_name(target, name))
            finally:
                os.close(target)
        finally:
            os.close(root)
        self._leave()  # it may have been the folder that we are in
        self.moved += 1

    def _at(self, path: bytes) -> int:
        """A descriptor of a folder that is there, good until the next call."""
        if not self._near or self._near[0] != path:
            descriptor = descend(self._root, path)
            self._leave()
            self._near = (path, descriptor)
        return self._near[1]

    def _parent(self, path: bytes) -> int:
        parent = path.rpartition(b"/")[0]
        try:
            return self._at(parent)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
        parts = parent.split(b"/")
        for number in range(len(parts)):
            self.make_folder(b"/".join(parts[: number + 1]), _ALL)
        return self._at(parent)

    def _leave(self) -> None:
        if self._near:
            os.close(self._near[1])
            self._near = None


def _made(root: int, path: bytes) -> int:
    """A descriptor of a folder below `root`; what is missing of it is made, under another name where a file is."""
    current = os.dup(root)
    for part in filter(None, path.split(b"/")):
        name, number = part, 0
        while True:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=current)
            try:
                following = descend(current, name)
                break
            except NotADirectoryError:
                number += 1
                name = _numbered(part, number)
        os.close(current)
        current = following
    return current


def _free_name(folder: int, name: bytes) -> bytes:
    number, free = 0, name
    while True:
        try:
            os.stat(free, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return free
        number += 1
        free = _numbered(name, number)


def _numbered(name: bytes, number: int) -> bytes:
    return name[:240] + b".%d" % number


def _move(source: int, name: bytes, target: int, new_name: bytes) -> None:
    try:
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another disk. Through /proc the folders are those that are open, however long their paths are.
        old, new = (os.fsencode(f"/proc/self/fd/{folder}/") for folder in (source, target))
        shutil.move(os.fsdecode(old + name), os.fsdecode(new + new_name))
