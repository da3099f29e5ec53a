"""A folder with its mode and owner."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

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
        difference = ownership.difference(self.path, self.mode, self.owner, self.group)
        return Change(difference) if difference else None

    def apply(self, context: Context) -> None:
        Path(self.path).mkdir(parents=True, exist_ok=True)
        ownership.settle(self.path, self.mode, self.owner, self.group)
