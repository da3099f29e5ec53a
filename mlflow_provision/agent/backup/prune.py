"""Remove what no rule keeps: manifests first, then what only they named, then what nobody has named for a day."""

from __future__ import annotations

import functools
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from mlflow_provision.agent.backup.aside import aside
from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.backup.listing import Listed, listed
from mlflow_provision.agent.backup.manifest import NAME
from mlflow_provision.agent.backup.retention import Decision, Stamp, decide
from mlflow_provision.agent.backup.settings import Settings
from mlflow_provision.agent.backup.stores.base import KIND, Entry, Store
from mlflow_provision.agent.protocol import CHANGED, OK, AgentError
from mlflow_provision.agent.steps import Emit, amount, step

GRACE = 86400.0  # seconds: what is younger and named by nobody may be of a backup that is being written
_AT_ONCE = 50  # keys
_OF_A_BACKUP = re.compile(r"(\d{8}T\d{6}Z-[0-9a-f]{6})/[^/]+")
_PACK = re.compile(r"packs/[0-9a-f]{24}\.tar\.gz(\.age)?")
_ONLY_ADDS = (
    "if this host may only add backups (append_only), that is as it should be: prune from a machine whose keys may "
    "delete, or let a lifecycle rule of the bucket do it"
)

Stopping = Callable[[], bool]


def prune(settings: Settings, store: Store, dry_run: bool, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """{"decisions": for each backup, newest first, "removed": ids, "freed": bytes}; of a dry run, what would be.

    Raises AgentError of kind "policy" for a policy that keeps nothing, "store" when the place does not let us delete.
    """
    decide([], settings.keep)  # refuses
    backups = aside(lambda: listed(store), stopping)
    decisions = _decisions(backups, settings)
    doomed = [decision.id for decision in reversed(decisions) if not decision.keep]
    entries = aside(lambda: list(store.list()), stopping)
    folders = [entry for entry in entries if entry.key.partition("/")[0] in doomed]
    if dry_run:
        staying = [backup for backup in backups if backup.id not in doomed]
        rest = [entry for entry in entries if entry not in folders]
        freed = _size(folders) + _size(_unneeded(rest, staying))
    else:
        freed = _remove_backups(store, doomed, folders, emit, stopping)
        freed += _remove_unneeded(store, emit, stopping)
    return {"decisions": [asdict(decision) for decision in decisions], "removed": doomed, "freed": freed}


def _decisions(backups: Sequence[Listed], settings: Settings) -> list[Decision]:
    """One for each, in their order. What cannot be read cannot be judged: it stays."""
    stamps = [
        Stamp(backup.id, backup.manifest.sequence, backup.manifest.started, not backup.problem)
        for backup in backups
        if backup.manifest
    ]
    judged = {decision.id: decision for decision in decide(stamps, settings.keep)}
    return [judged.get(backup.id) or Decision(backup.id, True, [_unreadable(backup)]) for backup in backups]


def _unreadable(backup: Listed) -> str:
    return f"it cannot be read, so neither it nor any pack of artifacts is deleted ({backup.problem})"


def _remove_backups(store: Store, ids: Sequence[str], folders: Sequence[Entry], emit: Emit, stopping: Stopping) -> int:
    with step(emit, "prune-backups", "backups that no rule keeps") as told:
        if not ids:
            told.verdict, told.summary = OK, "none"
            return 0
        manifests = {f"{id}/{NAME}" for id in ids}
        _delete(store, [f"{id}/{NAME}" for id in ids], stopping)
        _delete(store, [entry.key for entry in folders if entry.key not in manifests], stopping)
        told.verdict, told.summary = CHANGED, f"{len(ids)} deleted"
        return _size(folders)


def _remove_unneeded(store: Store, emit: Emit, stopping: Stopping) -> int:
    """Looks again at what there is: others may have made backups meanwhile."""
    with step(emit, "prune-packs", "what no backup needs any more") as told:
        # The objects before the manifests: what one of them names was there before it.
        entries = aside(lambda: list(store.list()), stopping)
        backups = aside(lambda: listed(store), stopping)
        unneeded = _unneeded(entries, backups)
        _delete(store, [entry.key for entry in unneeded], stopping)
        told.verdict = CHANGED if unneeded else OK
        told.summary = f"{len(unneeded)} deleted, {amount(_size(unneeded))}" if unneeded else "nothing"
        if any(not backup.manifest for backup in backups):
            told.summary += "; packs stay as long as a manifest cannot be read"
        return _size(unneeded)


def _unneeded(entries: Sequence[Entry], backups: Iterable[Listed]) -> list[Entry]:
    """Packs that no backup names, and what is of no backup. Only what is a day old, and nothing that is not ours."""
    backups = list(backups)
    # By the store's clock it is at least as late as its newest object says; a time from the future says nothing.
    now = min(time.time(), max((entry.modified for entry in entries), default=0.0))
    there = {backup.id for backup in backups}
    named = {pack.key for backup in backups if backup.manifest for pack in backup.manifest.packs}
    found = []
    if all(backup.manifest for backup in backups):
        packs = (entry for entry in entries if _PACK.fullmatch(entry.key) and entry.key not in named)
        found += [entry for entry in packs if now - entry.modified > GRACE]
    folders: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        match = _OF_A_BACKUP.fullmatch(entry.key)
        if match and match[1] not in there:
            folders[match[1]].append(entry)
    for left in folders.values():
        # A manifest that is there but was not listed came or went meanwhile.
        if now - max(entry.modified for entry in left) > GRACE and not any(e.key.endswith(f"/{NAME}") for e in left):
            found += left
    return found


def _delete(store: Store, keys: Sequence[str], stopping: Stopping) -> None:
    for start in range(0, len(keys), _AT_ONCE):
        raise_if(stopping)
        try:
            aside(functools.partial(store.delete, keys[start : start + _AT_ONCE]), stopping)
        except AgentError as error:
            if error.kind != KIND:
                raise
            hint = f"{error.hint}; {_ONLY_ADDS}" if error.hint else _ONLY_ADDS
            raise AgentError(f"backups cannot be deleted: {error.message}", hint, KIND) from None


def _size(entries: Iterable[Entry]) -> int:
    return sum(entry.size for entry in entries)
