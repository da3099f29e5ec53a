"""A file with exactly this content, mode and owner."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_provision.agent import diff
from mlflow_provision.agent.durable import sync_folder
from mlflow_provision.agent.names import BESIDE
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import ownership
from mlflow_provision.agent.resources.base import Change, Context


@dataclass(frozen=True)
class File:
    """A text file, replaced atomically. `secret_keys` are the `key = value` settings whose values nobody may read."""

    id: str
    path: str
    content: str = field(repr=False)
    mode: int = 0o644
    owner: str = ""
    group: str = ""
    secret_keys: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.path

    def check(self, context: Context) -> Change | None:
        if Path(self.path).is_dir():
            raise AgentError(
                f"{self.path} is a folder, not a file", f"move it away: sudo mv {self.path} {self.path}.old"
            )
        old = read(self.path)
        if old is None:
            return Change(f"create {self.mode:04o}", diff.unified(self.path, None, self.content, self.secret_keys))
        difference = ownership.difference(self.path, self.mode, self.owner, self.group)
        if old == self.content:
            return Change(difference) if difference else None
        shown = diff.unified(self.path, old, self.content, self.secret_keys)
        return Change("update" + (", " + difference if difference else ""), shown)

    def apply(self, context: Context) -> None:
        replace(self.path, self.content, self.mode, self.owner, self.group)


def read(path: str) -> str | None:
    """The text of a regular file; None when there is none (or a symbolic link stands there)."""
    if os.path.islink(path) or not os.path.exists(path):
        return None
    return Path(path).read_bytes().decode("utf-8", "replace")


def replace(path: str, content: str, mode: int, owner: str = "", group: str = "") -> None:
    """Write beside, sync, rename: at no moment is there half a file, or one that others can read for a moment."""
    target = Path(path)
    beside = target.with_name(f".{target.name}{BESIDE}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content.encode())
            ownership.settle(handle.fileno(), mode, owner, group)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError:  # of a full disk, not even the half shall be taken
        beside.unlink(missing_ok=True)
        raise
    os.replace(beside, target)
    sync_folder(str(target.parent))
