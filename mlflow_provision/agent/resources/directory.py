"""A folder with its mode and owner."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import ownership
from mlflow_provision.agent.resources.base import Change, Context


@dataclass(frozen=True)
class Directory:
    """A folder. What is inside is none of its business. Missing parents are made as mkdir would."""

    id: str
    path: str
    mode: int = 0o755
    owner: str = ""
    group: str = ""

    @property
    def title(self) -> str:
        return self.path + "/"

    def check(self, context: Context) -> Change | None:
        if not os.path.lexists(self.path):
            return Change(f"create {self.mode:04o}")
        if not Path(self.path).is_dir():
            raise AgentError(f"{self.path} is not a folder", f"move it away: sudo mv {self.path} {self.path}.old")
        _link_of_ours(self.path)
        difference = ownership.difference(self.path, self.mode, self.owner, self.group)
        return Change(difference) if difference else None

    def apply(self, context: Context) -> None:
        Path(self.path).mkdir(parents=True, exist_ok=True)
        with held_open(self.path) as folder:
            ownership.settle(f"/proc/self/fd/{folder}", self.mode, self.owner, self.group)


@contextlib.contextmanager
def held_open(path: str) -> Iterator[int]:
    """A folder as a descriptor (O_PATH): whoever owns the folder around it could put a link in its place right now."""
    follow = 0 if _link_of_ours(path) else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | follow)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _link_of_ours(path: str) -> bool:
    """Our own link leads to a larger disk; one of the server could lead to /etc, and would make that the server's."""
    info = os.lstat(path)
    if not stat.S_ISLNK(info.st_mode):
        return False
    if info.st_uid != os.geteuid():
        raise AgentError(
            f"{path} is a symbolic link that another user made, to {os.readlink(path)}",
            f"find out why, and remove it: sudo rm {path}",
        )
    return True
