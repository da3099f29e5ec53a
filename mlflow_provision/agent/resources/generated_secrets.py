"""Secrets of the server that only the host needs to know."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from mlflow_provision.agent.resources import ownership
from mlflow_provision.agent.resources.base import Change, Context
from mlflow_provision.agent.resources.file import read, replace

_LINE = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)=(.+)$")
_SHORTEST = 32  # characters; a last line without its end and with fewer is what a full disk left


@dataclass(frozen=True)
class GeneratedSecrets:
    """A file of `NAME=secret` lines. A missing secret is generated on the host; one that is there is never changed,
    because sessions and stored gateway keys depend on it. None of them ever leaves the host."""

    id: str
    path: str
    names: tuple[str, ...]
    mode: int = 0o600
    owner: str = ""
    group: str = ""

    @property
    def title(self) -> str:
        return self.path

    def check(self, context: Context) -> Change | None:
        existing = self._existing()
        missing = [name for name in self.names if name not in existing]
        if missing:
            return Change("generate " + ", ".join(missing))
        difference = ownership.difference(self.path, self.mode, self.owner, self.group)
        return Change(difference) if difference else None

    def apply(self, context: Context) -> None:
        existing = self._existing()
        for name in self.names:
            existing.setdefault(name, secrets.token_urlsafe(32))
        content = "".join(f"{name}={value}\n" for name, value in existing.items())
        replace(self.path, content, self.mode, self.owner, self.group)

    def _existing(self) -> dict[str, str]:
        text = read(self.path) or ""
        lines = text.splitlines()
        if lines and not text.endswith("\n") and len(lines[-1].partition("=")[2]) < _SHORTEST:
            lines.pop()
        return {match.group(1): match.group(2) for match in map(_LINE.match, lines) if match}
