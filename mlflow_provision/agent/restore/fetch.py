"""The databases of a backup, beside those of the server: fetched, checked, not yet used. All of it as service user."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
from dataclasses import dataclass
from typing import Callable

from mlflow_provision.agent.backup.codec import Key, load_stream
from mlflow_provision.agent.backup.content import FILES
from mlflow_provision.agent.backup.manifest import Manifest, Member
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.databases import TRACKING, USERS, inspection, settled
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.restore.wanted import Wanted

SECRETS = "secrets.env"
_LARGEST_SECRETS = 1 << 20
_SPARE = 64 << 20  # bytes that a running server keeps for itself


@dataclass(frozen=True)
class Fetched:
    """Database → its schema, as it was backed up; the text of secrets.env, "" when it is not in the backup."""

    schema: dict[str, str]
    secrets: str


def fetch(
    wanted: Wanted,
    store: Store,
    manifest: Manifest,
    key: Key,
    progress: Callable[[int], None],
    stopping: Callable[[], bool],
) -> Fetched:
    """Bring databases and secrets into the folder beside. Raises AgentError of kind "damaged" unless they are exactly
    what was backed up."""
    if not manifest.member(TRACKING):
        raise AgentError(f"backup {manifest.id} has no tracking database", "take another one", "damaged")
    schema = {}
    for name in (TRACKING, USERS):
        member = manifest.member(name)
        if member:
            path = f"{wanted.beside}/{name}"
            _load(store, member, path, key, progress, stopping)
            schema[name] = _checked(path, manifest, name, stopping)
    secrets = ""
    files = manifest.member(FILES)
    if files:
        path = f"{wanted.beside}/{FILES}"
        _load(store, files, path, key, progress, stopping)
        secrets = _secrets(path)
        os.unlink(path)
    return Fetched(schema, secrets)


def empty_beside(wanted: Wanted) -> None:
    """A new folder for what is fetched; what an earlier restore left there goes."""
    clean(wanted)
    os.mkdir(wanted.beside, 0o700)


def clean(wanted: Wanted) -> None:
    """Remove the folder."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(wanted.beside)


def refuse_without_room(wanted: Wanted, manifest: Manifest, migrates: bool, artifacts: bool) -> None:
    """Raise AgentError of kind "disk" when it would not fit. While they are there, the old databases stay."""
    restored = sum(member.size for member in manifest.members if member.name in (TRACKING, USERS, FILES))
    # A migration writes whole tables anew; a safety backup needs a snapshot of what is there.
    need = restored * (2 if migrates else 1)
    if wanted.safety:
        need += sum(os.path.getsize(path) for path in wanted.live.values() if os.path.exists(path))
    _refuse(wanted.data, need)
    folder = wanted.settings.source.artifacts
    if artifacts and folder and manifest.artifacts and os.path.isdir(folder):
        _refuse(folder, max(0, manifest.artifacts["bytes"] - _bytes_below(folder)))


def _refuse(folder: str, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if need + _SPARE > free:
        raise AgentError(
            f"there is no room in {folder}: this restore needs {(need + _SPARE) / 1e6:.0f} MB there, and "
            f"{free / 1e6:.0f} MB are free",
            f"free some space on the host, then run the same command again: df -h {folder}",
            "disk",
        )


def _bytes_below(folder: str) -> int:
    return sum(os.lstat(os.path.join(inside, name)).st_size for inside, _, names in os.walk(folder) for name in names)


def _load(
    store: Store,
    member: Member,
    path: str,
    key: Key,
    progress: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        load_stream(store, member, file.write, key, stopping, progress)


def _checked(path: str, manifest: Manifest, name: str, stopping: Callable[[], bool]) -> str:
    """The schema of a database that is whole and has all its rows."""
    try:
        found = inspection.content(path, inspection.THOROUGH, stopping)
    except AgentError as error:
        if error.kind != "damaged":
            raise
        wrong = [error.message]
    else:
        rows = manifest.rows.get(name, {})
        there = {table: found.rows.get(table, 0) for table in rows}
        wrong = [f"{there[table]} rows in {table}, not {rows[table]}" for table in rows if there[table] != rows[table]]
        if not wrong:
            return found.schema
    raise AgentError(
        f"{name} of backup {manifest.id} is damaged: {'; '.join(wrong)}",
        "take another one: mlflow-provision backup list",
        "damaged",
    )


def _secrets(path: str) -> str:
    with tarfile.open(path) as archive:
        for entry in archive:
            if entry.name.rpartition("/")[2] == SECRETS and entry.isfile() and entry.size <= _LARGEST_SECRETS:
                file = archive.extractfile(entry)
                return file.read().decode("utf-8", "replace") if file else ""
    return ""


def settle(wanted: Wanted) -> None:
    """Nothing but the databases themselves, and those on the disk: from here on they are only renamed."""
    settled.settle(wanted.beside)
