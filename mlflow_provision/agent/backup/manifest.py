"""The manifest of a backup: written last, so that there is no backup without it; it carries a sum of itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from mlflow_provision.agent.protocol import AgentError

FORMAT = 1
NAME = "manifest.json"
VERIFIED = "verified.json"


@dataclass(frozen=True)
class Member:
    """One stored object. Sizes in bytes, sums SHA-256: of the plain content, and of what is stored."""

    name: str  # "mlflow.db", "files.tar", "artifacts.jsonl", "packs/…"
    key: str  # in the deployment's folder of the store: "20261121T031500Z-4f2a9c/mlflow.db.gz.age"
    size: int
    sha256: str
    stored_size: int
    stored_sha256: str


@dataclass(frozen=True)
class Manifest:
    """Times are seconds since 1970. `sequence` orders backups, whatever clocks did."""

    id: str
    sequence: int
    deployment: str
    host: str
    reason: str  # "by hand", "by schedule", "before restoring ID"
    started: float
    seconds: float
    tool_version: str
    mlflow_version: str
    python_version: str
    sqlite_version: str
    members: tuple[Member, ...]
    schema: dict[str, str]  # database → revision, as Alembic notes it
    rows: dict[str, dict[str, int]]  # database → table → rows
    packs: tuple[Member, ...] = ()  # where the artifacts are, of earlier backups too
    artifacts: dict[str, int] | None = None  # {"files": …, "bytes": …}; None: not part of this backup
    encryption: dict[str, Any] = field(default_factory=dict)  # {"recipient": …, "kdf": {…}}; {}: not encrypted
    format: int = FORMAT

    def member(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)

    @property
    def stored_size(self) -> int:
        """Bytes in the store, packs that it shares with others included."""
        return sum(member.stored_size for member in (*self.members, *self.packs))


def encode(manifest: Manifest) -> bytes:
    """The content of manifest.json."""
    data = asdict(manifest)
    return json.dumps({"manifest": data, "sha256": _sum(data)}, indent=1, sort_keys=True).encode() + b"\n"


def decode(content: bytes, where: str) -> Manifest:
    """The manifest in these bytes. Raises AgentError of kind "damaged", or "format" for one of a newer tool."""
    try:
        document = json.loads(content)
        data = document["manifest"]
        if document["sha256"] != _sum(data):
            raise ValueError("its sum is not that of its content")
        if data["format"] > FORMAT:
            message = f"{where} was written by a newer mlflow-provision ({data['tool_version']})"
            raise AgentError(message, "upgrade mlflow-provision on this machine, then try again", "format")
        data["members"] = tuple(Member(**member) for member in data["members"])
        data["packs"] = tuple(Member(**member) for member in data["packs"])
        return Manifest(**data)
    except (ValueError, KeyError, TypeError) as error:
        raise AgentError(f"{where} is damaged: {error}", "use another backup: `backup list`", "damaged") from None


def _sum(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
