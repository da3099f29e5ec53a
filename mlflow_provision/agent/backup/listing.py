"""Which backups there are. What has no manifest is none; what is there but cannot be read or is not whole says why."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Sequence, TypeVar

from mlflow_provision.agent.backup.manifest import NAME, VERIFIED, Manifest, decode, encode
from mlflow_provision.agent.backup.stores.base import Missing, Store
from mlflow_provision.agent.protocol import AgentError

DAMAGED = "damaged"  # the level of a mark: a verification has found that this backup is not what it was
_AT_ONCE = 8  # requests
_FIELDS = ("sequence", "deployment", "host", "reason", "started", "seconds", "mlflow_version", "tool_version")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Listed:
    """A backup. `problem` is "" unless it cannot be restored as a whole; without a `manifest`, not even in part.

    `verified` is the mark of the last verification, {"at", "level"}: "full" or "sums".
    """

    id: str
    manifest: Manifest | None
    problem: str = ""
    verified: dict[str, Any] | None = None


def listed(store: Store) -> list[Listed]:
    """All backups in a store, newest first: clocks jump, so `sequence` says which that is.

    One whose manifest cannot be read stands where its id would.
    """
    sizes = {entry.key: entry.size for entry in store.list()}
    ids = [key.partition("/")[0] for key in sizes if key.count("/") == 1 and key.endswith(f"/{NAME}")]
    found = [one for one in _at_once(lambda id: _looked_at(store, id, sizes), ids) if one]
    readable = [(backup.manifest, backup) for backup in found if backup.manifest]
    readable.sort(key=lambda pair: (pair[0].sequence, pair[0].started, pair[0].id), reverse=True)
    order = [backup for _, backup in readable]
    for backup in sorted((one for one in found if not one.manifest), key=lambda one: one.id):
        place = next((number for number, other in enumerate(order) if other.id < backup.id), len(order))
        order.insert(place, backup)
    return order


def chosen(store: Store, backups: Sequence[Listed], id: str) -> Listed:
    """The backup with this id; "" means the newest. Raises AgentError of kind "none"."""
    for backup in backups:
        if id in ("", backup.id):
            return backup
    if id:
        hint = "see which there are: mlflow-provision backup list"
        raise AgentError(f"there is no backup {id} in {store.title}", hint, "none")
    raise AgentError(f"there is no backup in {store.title}", "make one: mlflow-provision backup", "none")


def readable(store: Store, backups: Sequence[Listed], id: str) -> Manifest:
    """The manifest of the backup with this id ("": of the newest). Raises AgentError: none, or damaged."""
    backup = chosen(store, backups, id)
    if not backup.manifest:
        hint = "take another one: mlflow-provision backup list"
        raise AgentError(f"the backup {backup.id} cannot be read: {backup.problem}", hint, "damaged")
    return backup.manifest


def shown(backup: Listed) -> dict[str, Any]:
    """A backup as answers carry it. Without a manifest, all that is unknown is 0, "", {} or None."""
    manifest = backup.manifest
    facts: dict[str, Any] = dict.fromkeys(_FIELDS, "") | {"sequence": 0, "started": 0.0, "seconds": 0.0}
    if manifest:
        facts = {name: getattr(manifest, name) for name in _FIELDS}
    artifacts = manifest.artifacts if manifest else None
    members = manifest.members if manifest else ()
    return {
        "id": backup.id,
        **facts,
        "size": sum(member.size for member in members) + (artifacts or {}).get("bytes", 0),
        "stored_size": manifest.stored_size if manifest else 0,
        "schema": manifest.schema if manifest else {},
        "rows": manifest.rows if manifest else {},
        "artifacts": artifacts,
        "encryption": manifest.encryption if manifest else {},
        "verified": backup.verified,
        "problem": backup.problem,
    }


def mark(manifest: Manifest, at: float, level: str, problems: Sequence[str] = ()) -> bytes:
    """The content of verified.json: it is about this very manifest."""
    content = {"at": at, "level": level, "manifest": _sum(encode(manifest)), "problems": list(problems)}
    return json.dumps(content, indent=1).encode() + b"\n"


def marked(store: Store, manifest: Manifest) -> dict[str, Any]:
    """What the last verification of a backup has noted in the store; {} for nothing that can be read."""
    return _mark(store, manifest.id, _sum(encode(manifest)))


def _looked_at(store: Store, id: str, sizes: Mapping[str, int]) -> Listed | None:
    """None: it has been deleted meanwhile."""
    try:
        content = store.read(f"{id}/{NAME}")
        manifest = decode(content, f"{store.title}/{id}/{NAME}", id)
        verified = _mark(store, id, _sum(content)) if f"{id}/{VERIFIED}" in sizes else {}
    except Missing:
        return None
    except AgentError as error:
        if error.kind not in ("damaged", "format"):
            raise
        return Listed(id, None, error.message)
    found = _missing(manifest, sizes)
    if verified.get("level") == DAMAGED:
        found = found or "; ".join(map(str, verified["problems"])) or "a verification has found it damaged"
        verified = {}
    return Listed(id, manifest, found, {name: verified[name] for name in ("at", "level")} if verified else None)


def _missing(manifest: Manifest, sizes: Mapping[str, int]) -> str:
    """What a look at names and sizes tells already."""
    for member in (*manifest.members, *manifest.packs):
        size = sizes.get(member.key)
        if size is None:
            return f"{member.key} is missing"
        if size != member.stored_size:
            return f"{member.key} has {size} bytes, not {member.stored_size}"
    return ""


def _mark(store: Store, id: str, manifest: str) -> dict[str, Any]:
    """The mark of a verification of this manifest; {} for one that cannot be read, or is about another."""
    try:
        content = json.loads(store.read(f"{id}/{VERIFIED}"))
        if content["manifest"] == manifest and isinstance(content["problems"], list):
            return {"at": float(content["at"]), "level": str(content["level"]), "problems": content["problems"]}
    except (ValueError, KeyError, TypeError, Missing):
        pass
    return {}


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _at_once(look: Callable[[str], Answer], ids: Sequence[str]) -> list[Answer]:
    """What `look` says of each, a few at a time and in any order. Raises what the first that failed has raised."""
    answers: list[Answer] = []
    errors: list[BaseException] = []
    left = iter(ids)
    turn = threading.Lock()

    def work() -> None:
        while not errors:
            with turn:
                id = next(left, None)
            if id is None:
                return
            try:
                answers.append(look(id))
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(_AT_ONCE, len(ids)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return answers
