"""A symbolic link that is switched atomically."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mlflow_provision.agent.names import BESIDE
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Change, Context


@dataclass(frozen=True)
class Symlink:
    """A link at `path` to `target`; switching it is one rename."""

    id: str
    path: str
    target: str

    @property
    def title(self) -> str:
        return f"{self.path} → {self.target}"

    def check(self, context: Context) -> Change | None:
        if not os.path.lexists(self.path):
            return Change("create")
        if not os.path.islink(self.path):
            raise AgentError(
                f"{self.path} is not a symbolic link", f"move it away: sudo mv {self.path} {self.path}.old"
            )
        current = os.readlink(self.path)
        return Change(f"switch from {current}") if current != self.target else None

    def apply(self, context: Context) -> None:
        link = Path(self.path)
        beside = link.with_name(f".{link.name}{BESIDE}")
        beside.unlink(missing_ok=True)
        beside.symlink_to(self.target)
        os.replace(beside, link)
