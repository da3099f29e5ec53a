"""Put the artifacts of a backup back: what is missing is written, what is equal stays, what differs moves aside."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import Callable

from mlflow_provision.agent.backup.artifacts import index, reading, tree
from mlflow_provision.agent.backup.artifacts.archive import Unpacking
from mlflow_provision.agent.backup.artifacts.known import room_in
from mlflow_provision.agent.backup.artifacts.landing import Landing
from mlflow_provision.agent.backup.artifacts.placing import Placing
from mlflow_provision.agent.backup.artifacts.wanted import File, Wanted
from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.backup.codec import Key, load_stream
from mlflow_provision.agent.backup.manifest import Manifest, Member
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.protocol import AgentError, in_words, way_out


@dataclass(frozen=True)
class Restored:
    """How many files were written, were there already, and stood in the way; how many bytes were written."""

    written: int
    equal: int
    aside: int
    bytes: int
    notes: tuple[str, ...]  # for people


def restore(
    store: Store,
    manifest: Manifest,
    key: Key,
    folder: str,
    scratch: str,
    aside: str,
    progress: Callable[[int, int], object],
    stopping: Callable[[], bool],
) -> Restored:
    """Make the files of a backup be in `folder` again; others that are there stay. Each pack is read once, if at all.

    A file that has the size and time it had in the backup is taken to be equal; one of another time is read. `aside` is
    a folder, made when needed. Whatever ended an earlier try, the next one goes on from there. With damaged packs, all
    that can be had is restored before AgentError of kind "damaged" is raised.
    """
    if manifest.artifacts is None:
        return Restored(0, 0, 0, 0, ())
    try:
        os.makedirs(folder, 0o750, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(room_in(scratch))
            root = stack.enter_context(tree.opened(folder))
            wanted = stack.enter_context(Wanted(store, manifest, key, scratch, stopping))
            landing = Landing(root, aside)
            try:
                return _Restore(store, manifest, key, root, landing, wanted, progress, stopping).made()
            finally:
                landing.close()
    except OSError as error:
        raise AgentError(f"the artifacts cannot be restored: {in_words(error)}", way_out(error)) from None


class _Restore:
    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        key: Key,
        root: int,
        landing: Landing,
        wanted: Wanted,
        progress: Callable[[int, int], object],
        stopping: Callable[[], bool],
    ) -> None:
        self._store, self._manifest, self._key, self._root = store, manifest, key, root
        self._landing, self._wanted, self._progress, self._stopping = landing, wanted, progress, stopping
        self._placing = Placing(landing, wanted)
        self._equal = 0
        self._notes: list[str] = []

    def made(self) -> Restored:
        self._look()
        self._room()
        self._folders()
        for file in self._wanted.needed("", 0):
            self._placing.empty(file)
        trouble = self._packs()
        self._links()
        self._finish_folders()
        os.sync()  # what was written is on the disk, whatever happens next
        if trouble:
            raise self._incomplete(trouble)
        placed = self._placing
        return Restored(placed.written, self._equal, self._landing.moved, placed.bytes, tuple(self._notes))

    def _look(self) -> None:
        """What is there already?"""
        for number, file in enumerate(self._wanted.all_files()):
            if not number % 100:
                raise_if(self._stopping)
            if self._is_there(file):
                self._landing.adjust(file.path, file.mode, file.mtime_ns)
                self._wanted.settle(file.id)
                self._equal += 1

    def _is_there(self, file: File) -> bool:
        status = self._landing.look(file.path)
        if not status or not stat.S_ISREG(status.st_mode) or status.st_size != file.size:
            return False
        return status.st_mtime_ns == file.mtime_ns or self._sum(file.path) == file.sha256

    def _sum(self, path: bytes) -> str:
        digest = hashlib.sha256()
        try:
            file = reading.opened(self._root, path)
        except AgentError:  # we may not read it: so it is not what we restore
            return ""
        if file:
            with file:
                for piece in file.pieces():
                    raise_if(self._stopping)
                    digest.update(piece)
        return digest.hexdigest()

    def _room(self) -> None:
        disk = os.fstatvfs(self._root)
        free, needed = disk.f_bavail * disk.f_frsize, self._wanted.needed_bytes()
        if needed > free:
            raise AgentError(
                f"the artifacts need {needed / 1e9:.1f} GB, and only {free / 1e9:.1f} GB are free",
                "free some space on the host, or grow its disk, then run the same command again",
            )

    def _folders(self) -> None:
        for number, path, mode in self._wanted.folders():
            if self._landing.make_folder(path, mode):
                self._wanted.note_made(number)

    def _packs(self) -> list[str]:
        """Read what is needed; returns what is wrong with it."""
        needed = self._wanted.packs()
        packs = [pack for pack in self._manifest.packs if index.pack_id(pack) in needed]
        total, done, trouble = sum(pack.size for pack in packs), 0, []

        def told(count: int) -> None:
            nonlocal done
            done += count
            self._progress(min(done, total), total)

        for pack in packs:
            raise_if(self._stopping)
            try:
                self._pack(pack, told)
            except AgentError as error:
                if error.kind != "damaged":
                    raise
                trouble.append(error.message)
        left = self._wanted.packs()
        return trouble or ["the index names what is in no pack"] if left else []

    def _pack(self, pack: Member, told: Callable[[int], None]) -> None:
        with self._placing.pack(index.pack_id(pack)) as contents:
            unpacking = Unpacking(contents.begin, contents.data, contents.end)
            load_stream(self._store, pack, unpacking, self._key, self._stopping, told)

    def _links(self) -> None:
        refused = 0
        for path, target in self._wanted.links():
            if not index.stays_inside(path, target):
                refused += 1
                continue
            status = self._landing.look(path)
            if not (status and stat.S_ISLNK(status.st_mode) and self._landing.link_target(path) == target):
                self._landing.link(path, target)
        if refused:
            self._notes.append(f"{refused} symbolic links lead out of the folder: left out")

    def _finish_folders(self) -> None:
        """Modes and times come last: a folder may forbid writing into it, and writing changes its time."""
        for path, mode, mtime_ns, made in self._wanted.finished_folders():
            self._landing.adjust(path, mode, mtime_ns if made else None)

    def _incomplete(self, trouble: list[str]) -> AgentError:
        count, first = self._wanted.missing()
        words = f"{count} artifacts of {self._manifest.id} cannot be restored" if count > 1 else "an artifact is lost"
        return AgentError(
            f"{words}, {index.shown(first)}{' among them' if count > 1 else ''}: {trouble[0]}",
            "everything else is restored; take another backup for the rest: `mlflow-provision backup list`",
            "damaged",
        )
