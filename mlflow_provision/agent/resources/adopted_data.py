"""The data of an old server, as ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlflow_provision.agent.adoption import ADOPTED, STARTING
from mlflow_provision.agent.adoption.journal import Journal, OldUnit
from mlflow_provision.agent.resources.base import Change, Context


@dataclass(frozen=True)
class AdoptedData:
    """Databases and local artifacts of the server `old` (a fact) are copied to ours. To copy them it is stopped: what
    comes back if anything fails afterwards is the business of the verb `adopt`, which alone applies this.

    `summary` says in a plan what there is to take over. `password` is the administrator's on the old server.
    """

    id: str
    old: dict[str, Any]
    summary: str
    base: str
    unit: str
    unit_file: str
    url: str
    owner: str
    release: str
    config: str
    secrets_env: str
    database: str
    auth_database: str
    artifacts: str  # a folder; "" for a bucket, in which everything stays where it is
    record: str
    username: str
    password: str = field(repr=False)

    @property
    def title(self) -> str:
        return f"data of the old server in {self.old.get('tree')}"

    @property
    def journal(self) -> Journal:
        return Journal(self.base)

    @property
    def old_unit(self) -> OldUnit:
        return OldUnit(self.old["unit"], self.old["unit_file"], self.journal.path("unit"))

    @property
    def replaced(self) -> bool:
        """Does our unit take the name of the old one?"""
        return bool(self.old["unit"] == self.unit)

    def check(self, context: Context) -> Change | None:
        phase = self.journal.phase
        if phase in (STARTING, ADOPTED):
            return None
        again = "undo what was interrupted, then " if self.journal.unfinished else ""
        return Change(f"{again}stop {self.old['unit'] or 'nothing'}, back up, copy {self.summary}")

    def apply(self, context: Context) -> None:
        from mlflow_provision.agent.adoption.move import move

        move(self, context)
