"""Artifacts in a folder of this host. No symbolic link in it is followed, and what is written appears whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import Callable, Iterator

from mlflow_provision.agent.backup.artifacts import reading, tree
from mlflow_provision.agent.backup.artifacts.index import FILE, FOLDER
from mlflow_provision.agent.moving.identity import files_of
from mlflow_provision.agent.moving.places import Entry
from mlflow_provision.agent.protocol import AgentError, in_words, way_out

LINK = "link"  # kind of the AgentError about something that cannot be taken for an artifact
NO_RIGHTS = "the server cannot read it: if it is to be moved, name its folder with --as-root"
_FOLDER, _FILE = 0o750, 0o640
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True)
class Folder:
    """`user` is whose rights count, and to whom new files belong; "" for our own."""

    path: str
    user: str

    @property
    def title(self) -> str:
        return self.path

    def find(self, stopping: Callable[[], bool], below: str = "") -> list[Entry]:
        top = os.path.join(self.path, below) if below else self.path
        with self._rights(top):
            try:
                if not stat.S_ISDIR(os.stat(top).st_mode):
                    raise AgentError(f"{top} is a file, and no folder of artifacts", kind=LINK)
            except PermissionError:
                raise AgentError(f"{top}: {NO_RIGHTS}", kind=LINK) from None
            except OSError as error:
                if error.errno in _ABSENT:
                    return []
                raise
            with tree.opened(top) as root:
                return [
                    self._found(top, found, f"{below}/" if below else "")
                    for found in tree.walk(root, stopping)
                    if found.kind != FOLDER
                ]

    def look(self, name: str) -> Entry | None:
        with self._rights(name), self._root() as root:
            try:
                folder = tree.descend(root, os.fsencode(os.path.dirname(name)))
                try:
                    info = os.stat(os.path.basename(name), dir_fd=folder, follow_symlinks=False)
                finally:
                    os.close(folder)
            except OSError as error:
                if error.errno in _ABSENT:
                    return None
                raise
        return self._entry(name, info) if stat.S_ISREG(info.st_mode) else None

    def read(self, name: str, sink: Callable[[bytes], object]) -> None:
        with self._rights(name), self._root() as root:
            file = reading.opened(root, os.fsencode(name))
        if file is None:
            raise AgentError(f"{self.path}/{name} is not there any more", kind="changed")
        with file:
            for piece in file.pieces():
                sink(piece)
            if not file.steady():
                raise AgentError(f"{self.path}/{name} was written to while it was read", kind="changed")

    @contextlib.contextmanager
    def write(self, name: str, size: int) -> Iterator[_Part]:
        with self._rights(name), self._root() as root:
            folder = _made(root, os.fsencode(os.path.dirname(name)))
        try:
            base = os.path.basename(name)
            with self._rights(name):
                part = _Part(folder, _part_name(base), self.user)
            try:
                yield part
                part.finish(os.fsencode(base))
            except BaseException:
                part.discard()
                raise
        finally:
            os.close(folder)

    def sweep(self) -> None:
        """Nothing: what a killed run was writing is begun again under the same name."""

    def delete(self, name: str) -> None:
        """Folders that have become empty go, too."""
        with self._rights(name), self._root() as root:
            parent, base = os.fsencode(os.path.dirname(name)), os.fsencode(os.path.basename(name))
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                _unlinked(root, parent, base)
            while parent:
                outer, _, last = parent.rpartition(b"/")
                try:
                    folder = tree.descend(root, outer)
                    try:
                        os.rmdir(last, dir_fd=folder)
                    finally:
                        os.close(folder)
                except OSError:
                    return
                parent = outer

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        with tree.opened(self.path) as root:
            yield root

    @contextlib.contextmanager
    def _rights(self, name: str) -> Iterator[None]:
        try:
            with files_of(self.user):
                yield
        except OSError as error:
            where = name if os.path.isabs(name) else f"{self.path}/{name}"
            error.filename = error.filename if isinstance(error.filename, str) and "/" in error.filename else where
            raise AgentError(in_words(error), way_out(error)) from None

    def _found(self, top: str, found: tree.Found, before: str) -> Entry:
        name = os.fsdecode(found.path)
        if found.kind != FILE:
            raise AgentError(
                f"{top}/{name} is a link or no ordinary file",
                "put what it leads to in its place, or remove it",
                LINK,
            )
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = name.encode(errors="backslashreplace").decode()
            raise AgentError(f"{top}/{shown}: its name is not UTF-8", "give it another name", LINK) from None
        return Entry(before + name, found.size, str(found.mtime_ns))

    def _entry(self, name: str, info: os.stat_result) -> Entry:
        return Entry(name, info.st_size, str(info.st_mtime_ns))


class _Part:
    """A file that nobody takes for an artifact until it is finished."""

    def __init__(self, folder: int, name: bytes, user: str) -> None:
        self._folder, self._name, self._user = folder, name, user
        with files_of(user):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(name, flags, 0o600, dir_fd=folder)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def finish(self, name: bytes) -> None:
        os.fchmod(self._descriptor, _FILE)
        os.fsync(self._descriptor)
        with files_of(self._user):
            os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.close(self._descriptor)

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        with files_of(self._user), contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._folder)


def _part_name(name: str) -> bytes:
    """Several are written into one folder at the same time; one that was killed is begun again under the same name."""
    return tree.PART + b"-" + hashlib.sha256(os.fsencode(name)).hexdigest()[:16].encode()


def _made(root: int, path: bytes) -> int:
    """A descriptor of the folder `path` below `root`; what is missing of it is made."""
    current = os.dup(root)
    try:
        for part in filter(None, path.split(b"/")):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, _FOLDER, dir_fd=current)
                os.chmod(part, _FOLDER, dir_fd=current)  # whatever the umask is
            following = tree.descend(current, part)
            os.close(current)
            current = following
    except BaseException:
        os.close(current)
        raise
    return current


def _unlinked(root: int, parent: bytes, name: bytes) -> None:
    folder = tree.descend(root, parent)
    try:
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)
