"""The backup that the next one builds on. The host cannot open what is encrypted: it keeps the last index itself."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Collection, Iterable, Mapping

from mlflow_provision.agent.backup.artifacts import index
from mlflow_provision.agent.backup.aside import aside
from mlflow_provision.agent.backup.codec import Key, encrypted, load_stream
from mlflow_provision.agent.backup.manifest import Manifest, Member
from mlflow_provision.agent.backup.settings import Settings
from mlflow_provision.agent.backup.stores.base import Missing, Store
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.file import replace

_KEPT = "artifacts.jsonl.gz"  # in the state folder
_DAMAGED = "damaged-packs.json"


@dataclass(frozen=True)
class Previous:
    """The index of an earlier backup, a file on this host, and the packs that may be used again."""

    index: str
    packs: tuple[Member, ...]


def previous(
    store: Store,
    manifests: Iterable[Manifest],
    settings: Settings,
    key: Key,
    scratch: str,
    stopping: Callable[[], bool],
) -> Previous | None:
    """The newest backup of this deployment, encrypted to the same recipient, whose index can be had; None: all is new.

    `manifests` are those that can be read, newest first. Packs that a check has found damaged are not used again.
    """
    kept = os.path.join(settings.state, _KEPT)
    kept_sum = _kept_sum(kept, stopping)
    for manifest in manifests:
        member = index.member_of(manifest)
        if not member or not _ours(manifest, settings):
            continue
        path = kept if member.sha256 == kept_sum else _loaded(store, member, key, scratch, stopping)
        if path:
            bad = damaged_packs(settings.state)
            return Previous(path, tuple(pack for pack in manifest.packs if pack.key not in bad))
    return None


def remember(path: str, state: str) -> None:
    """Keep the index of the backup that is now complete."""
    kept = os.path.join(state, _KEPT)
    new = kept + ".new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(path, "rb") as source, os.fdopen(descriptor, "wb") as target:
        with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=1) as packed:
            shutil.copyfileobj(source, packed, 1 << 20)
        target.flush()
        os.fsync(target.fileno())
    os.replace(new, kept)


def present(store: Store, packs: Mapping[str, Member], stopping: Callable[[], bool]) -> set[str]:
    """Which of these packs are in the store, with the right size."""
    if not packs:
        return set()
    sizes = aside(lambda: {entry.key: entry.size for entry in store.list("packs/")}, stopping)
    return {name for name, pack in packs.items() if sizes.get(pack.key) == pack.stored_size}


def damaged_packs(state: str) -> set[str]:
    """The keys of packs that checks have found damaged."""
    try:
        return {str(key) for key in json.loads(Path(state, _DAMAGED).read_text())}
    except (OSError, ValueError, TypeError):
        return set()


def note_checked(state: str, damaged: Collection[str], good: Collection[str]) -> None:
    """Remember what a check has found. A pack that is noted as damaged is never used again by later backups: they
    store anew what was in it."""
    before = damaged_packs(state)
    after = before - set(good) | set(damaged)
    if after != before:
        replace(os.path.join(state, _DAMAGED), json.dumps(sorted(after)) + "\n", 0o600)


def _ours(manifest: Manifest, settings: Settings) -> bool:
    """Whoever can open what we make now can open this one too."""
    recipient = manifest.encryption.get("recipient", "")
    return (manifest.deployment, recipient) == (settings.source.deployment, settings.encryption.recipient)


def _kept_sum(kept: str, stopping: Callable[[], bool]) -> str:
    try:
        return index.plain_sum(kept, stopping)
    except (OSError, EOFError, zlib.error):
        return ""


def _loaded(store: Store, member: Member, key: Key, scratch: str, stopping: Callable[[], bool]) -> str:
    """The path of an index that was fetched; "" when that cannot be done, or not with what we have."""
    if encrypted(member.key) and not key.identity:
        return ""
    path = os.path.join(scratch, "previous.jsonl")
    try:
        with open(path, "wb") as file:
            load_stream(store, member, file.write, key, stopping)
    except AgentError as error:
        if error.kind not in ("damaged", "key") and not isinstance(error, Missing):
            raise
        os.unlink(path)
        return ""
    return path
