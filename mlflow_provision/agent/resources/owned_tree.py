"""A folder that belongs to a user with all that is in it, wherever it comes from."""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import ownership
from mlflow_provision.agent.resources.base import Change, Context
from mlflow_provision.agent.resources.directory import Directory, held_open


@dataclass(frozen=True)
class OwnedTree:
    """A folder as `Directory` has it. One of another owner is handed over with its content: a disk may come from a host
    where the same user had another number. Where the folder itself has the right owner, its content is not looked at.
    """

    id: str
    path: str
    mode: int = 0o755
    owner: str = ""
    group: str = ""

    @property
    def title(self) -> str:
        return self._folder.title

    def check(self, context: Context) -> Change | None:
        change = self._folder.check(context)
        if not change:
            return None if self._can_be_reached() else Change(f"see why {self.owner} cannot reach it")
        return Change(f"{change.summary}, with all that is in it") if self._is_of_another else change

    def apply(self, context: Context) -> None:
        """The folder itself comes last: until it is handed over, another run does what is left."""
        if self._is_of_another:
            with held_open(self.path) as folder:
                _hand_over(folder, *ownership.ids(self.owner, self.group))
        self._folder.apply(context)
        if not self._can_be_reached():
            hint = f"choose another folder, or open the one that is closed: namei -l {shlex.quote(self.path)} shows it"
            raise AgentError(f"{self.owner} cannot reach {self.path}: a folder above it is closed", hint)

    def _can_be_reached(self) -> bool:
        reached: bool = as_user(self.owner, lambda: os.access(self.path, os.W_OK | os.X_OK))
        return reached

    @property
    def _folder(self) -> Directory:
        return Directory(self.id, self.path, self.mode, self.owner, self.group)

    @property
    def _is_of_another(self) -> bool:
        if not os.path.isdir(self.path):
            return False
        try:
            uid, gid = ownership.ids(self.owner, self.group)
        except KeyError:  # a user who will be made before
            return True
        info = os.stat(self.path)
        return uid not in (-1, info.st_uid) or gid not in (-1, info.st_gid)


def _hand_over(folder: int, uid: int, gid: int) -> None:
    """Everything below, without following a link: whoever has it now may have put some there, and may at any time."""
    before = os.fstat(folder).st_uid
    for _, folders, files, inside in os.fwalk(".", onerror=_refuse, dir_fd=folder):
        for name in (*folders, *files):
            info = os.stat(name, dir_fd=inside, follow_symlinks=False)
            if (info.st_uid, info.st_gid) != (uid, gid) and not _has_another_place(info, before):
                os.chown(name, uid, gid, dir_fd=inside, follow_symlinks=False)


def _has_another_place(info: os.stat_result, before: int) -> bool:
    """A hard link to a file that was not the former owner's: it would be given away where it belongs, too."""
    return stat.S_ISREG(info.st_mode) and info.st_nlink > 1 and info.st_uid != before


def _refuse(error: OSError) -> None:
    raise error
