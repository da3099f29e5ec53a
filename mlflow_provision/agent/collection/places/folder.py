"""Artifacts in a folder of the host. Links are removed, and never followed."""

from __future__ import annotations

import contextlib
import os
from typing import Callable, Iterator

from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.collection.places.base import STEP, Found, Told, Wanted


class FolderPlace:
    def __init__(self, path: str, stopping: Callable[[], bool]) -> None:
        self.title = path
        self._path = path.rstrip("/")
        self._stopping = stopping

    def files(self, folder: str) -> Iterator[Found]:
        top = self._at(folder)
        for path in self._walk(top):
            with contextlib.suppress(FileNotFoundError):
                info = os.lstat(path)
                yield Found(path[len(top) + 1 :], info.st_size, info.st_mtime)

    def folders(self, folder: str) -> list[str]:
        try:
            with os.scandir(self._at(folder)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, folder: str, told: Told, wanted: Wanted = None) -> None:
        top = self._at(folder)
        if os.path.islink(top):  # whatever it leads to is not ours
            os.unlink(top)
            return
        for path in self._walk(top):
            if wanted and not wanted(path[len(top) + 1 :]):
                continue
            with contextlib.suppress(FileNotFoundError):
                size = os.lstat(path).st_size
                os.unlink(path)
                told(1, size)
        self._tidy(top)

    def reachable(self, folder: str) -> bool:
        # A service sees no homes: what is in one looks as if it were not there.
        return os.path.isdir(os.path.dirname(self._at(folder)))

    def keeps_versions(self) -> bool | None:
        return False

    def _at(self, folder: str) -> str:
        return f"{self._path}/{folder}" if folder else self._path

    def _walk(self, top: str) -> Iterator[str]:
        def refuse(error: OSError) -> None:
            if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
                raise error

        count = 0
        if os.path.islink(top):
            return
        for here, folders, names in os.walk(top, onerror=refuse, followlinks=False):
            for name in [*names, *(name for name in folders if os.path.islink(f"{here}/{name}"))]:
                count += 1
                if count % STEP == 0:
                    raise_if(self._stopping)
                yield f"{here}/{name}"

    def _tidy(self, top: str) -> None:
        """Folders that are empty now go, and those above them up to the place itself."""
        for here, _, _ in os.walk(top, topdown=False, followlinks=False):
            with contextlib.suppress(OSError):
                os.rmdir(here)
        above = os.path.dirname(top)
        while len(above) > len(self._path) and self._path:
            try:
                os.rmdir(above)
            except OSError:
                return
            above = os.path.dirname(above)
