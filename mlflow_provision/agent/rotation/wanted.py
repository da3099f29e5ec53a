"""What is to be rotated, and where it is used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Wanted:
    """`names` are the secrets in the file `secrets_env`; `database` is the tracking database."""

    deployment: str
    secrets_env: str
    names: tuple[str, ...]
    database: str
    owner: str  # who owns it; "": we do
    venv: str
    config: str
    service: dict[str, Any]  # the resource that runs the server, as JSON
    verify: dict[str, Any] = field(repr=False)
    backup_lock: str  # held by whoever makes a backup

    @property
    def next(self) -> str:
        """The new secrets before they are in use. While it is there, the database may be locked with either."""
        return self.secrets_env + ".next"

    @property
    def old(self) -> str:
        """The old ones, until the new ones are proved."""
        return self.secrets_env + ".old"


def wanted(data: dict[str, Any]) -> Wanted:
    """From a request's data."""
    fields = {name: data[name] for name in Wanted.__dataclass_fields__ if name != "names"}
    return Wanted(names=tuple(data["names"]), **fields)
