"""The JSON document that `--json` prints; docs/commands.md explains every field."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from mlflow_provision.agent.protocol import Result

SCHEMA = 1  # grows when a field changes its meaning or goes away; new fields do not count


@dataclass
class Document:
    """What one run of a command did and found."""

    command: str
    deployment: str | None = None
    ok: bool = True
    exit_code: int = 0
    changes: int = 0
    steps: list[dict[str, Any]] = field(default_factory=list)
    verify: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what a person is told besides
    error: dict[str, Any] | None = None
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)  # what only this command says: `server`, `deployments`, …

    def as_json(self) -> dict[str, Any]:
        """The document with the command's own fields beside the common ones."""
        data = asdict(self)
        own = data.pop("details")
        return {"schema": SCHEMA, **data, **own}


def step(result: Result) -> dict[str, Any]:
    """One step as it stands in the document."""
    return asdict(result)
