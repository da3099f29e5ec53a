"""The manifest of a backup: written last, so that there is no backup without it; it carries a sum of itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
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


def decode(content: bytes, where: str, id: str = "") -> Manifest:
    """The manifest in these bytes, of the backup `id`. Raises AgentError of kind "damaged", or "format" for one of a
    newer tool. What else a newer tool has noted in this format is left out."""
    try:
        document = json.loads(content)
        data = document["manifest"]
        if document["sha256"] != _sum(data):
            raise ValueError("its sum is not that of its content")
        if data["format"] > FORMAT:
            message = f"{where} was written by a newer mlflow-provision ({data['tool_version']})"
            raise AgentError(message, "upgrade mlflow-provision on this machine, then try again", "format")
        manifest = Manifest(
            **{
                **_known(Manifest, data),
                "members": tuple(_member(member) for member in data["members"]),
                "packs": tuple(_member(member) for member in data["packs"]),
            }
        )
        _refuse_strangers(manifest, id)
        return manifest
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AgentError(f"{where} is damaged: {error}", "use another backup: `backup list`", "damaged") from None


def _member(data: dict[str, Any]) -> Member:
    member = Member(**_known(Member, data))
    for name, kind in (("name", str), ("key", str), ("size", int), ("stored_size", int)):
        if not isinstance(getattr(member, name), kind):
            raise ValueError(f"the {name} of a part is none")
    return member


def _known(cls: type[Any], data: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    return {name: value for name, value in data.items() if name in names}


def _refuse_strangers(manifest: Manifest, id: str) -> None:
    """Its parts are in its own folder and its packs among the packs: whoever edited it cannot make us touch others."""
    if id and manifest.id != id:
        raise ValueError(f"it is that of the backup {manifest.id}")
    if not manifest.members:
        raise ValueError("it names no parts")
    for folder, members in ((manifest.id, manifest.members), ("packs", manifest.packs)):
        for member in members:
            parts = member.key.split("/")
            if len(parts) != 2 or parts[0] != folder or not parts[1] or parts[1].startswith("."):
                raise ValueError(f"{member.key!r} is no part of it")


def _sum(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
