"""deployment.json: what was applied, when and by whom. Never a secret."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from mlflow_provision.agent.resources.base import Change, Context
from mlflow_provision.agent.resources.file import read, replace


@dataclass(frozen=True)
class Record:
    """The last resource of a setup. It is written anew whenever anything before it changed."""

    id: str
    path: str
    facts: dict[str, Any]
    operator: str

    @property
    def title(self) -> str:
        return self.path

    def check(self, context: Context) -> Change | None:
        recorded = load(self.path)
        if recorded is None:
            return Change("create")
        same = all(recorded.get(name) == value for name, value in self.facts.items())
        return None if same and not context.changed else Change("update")

    def apply(self, context: Context) -> None:
        stamp = {"applied_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "operator": self.operator}
        replace(self.path, json.dumps({**self.facts, **stamp}, indent=2, sort_keys=True) + "\n", 0o644)


def load(path: str) -> dict[str, Any] | None:
    """The recorded facts, or None when there are none that can be read."""
    try:
        data = json.loads(read(path) or "")
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
