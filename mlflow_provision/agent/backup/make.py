"""A backup: copies of the databases at one moment, then everything into the store, and at the very end the manifest."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import sqlite3
import time
from dataclasses import asdict, dataclass
from typing import Any, Callable, Iterator

from mlflow_provision.agent.backup import content, state, unfinished
from mlflow_provision.agent.backup.artifacts import packs
from mlflow_provision.agent.backup.artifacts.index import NAME as INDEX
from mlflow_provision.agent.backup.aside import aside
from mlflow_provision.agent.backup.codec import Key, put_bytes, store_stream, suffix
from mlflow_provision.agent.backup.listing import Listed, listed, shown
from mlflow_provision.agent.backup.manifest import NAME, Manifest, Member, encode
from mlflow_provision.agent.backup.settings import Settings
from mlflow_provision.agent.backup.stores import open_store
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.databases import inspection, snapshot
from mlflow_provision.agent.names import GUARD
from mlflow_provision.agent.protocol import CHANGED, AgentError, Output, Result
from mlflow_provision.agent.release_version import mlflow_version
from mlflow_provision.agent.steps import Emit, amount, counted, one_at_a_time, progress, step

Stopping = Callable[[], bool]
_PIECE = 1 << 20


def make(
    settings: Settings, reason: str, with_artifacts: bool, emit: Emit, stopping: Stopping, operator: str = ""
) -> dict[str, Any]:
    """Back up now. The answer is {"backup": …}, as `listing.shown` gives it.

    Raises AgentError: of kind "source" for what cannot be backed up, "disk", "store", "locked", "interrupted". Whatever
    it is, no half backup is listed, and nothing of it stays that can be removed now or by the next run.
    """
    emit = one_at_a_time(emit)
    with state.working(settings.state, "backup", operator) as scratch, state.noting(settings.state, "made", "backup"):
        started = time.monotonic()
        work = _begun(settings, with_artifacts, scratch, emit, stopping)
        try:
            manifest = work.manifest(reason, started)
            work.put_manifest(manifest)
        except BaseException:
            unfinished.give_up(work.store, settings.state)
            raise
        state.end(settings.state)
        state.succeeded(
            settings.state,
            "made",
            id=manifest.id,
            seconds=manifest.seconds,
            stored_size=manifest.stored_size,
            reason=reason,
            sequence=manifest.sequence,
        )
        work.remember()
        return {"backup": shown(Listed(manifest.id, manifest))}


def _begun(settings: Settings, with_artifacts: bool, scratch: str, emit: Emit, stopping: Stopping) -> _Work:
    """What can be found out before anything is written."""
    if os.path.exists(os.path.join(os.path.dirname(settings.state), GUARD)):
        hint = f"run it again, it goes on or back: mlflow-provision restore {settings.source.deployment}"
        raise AgentError("a restore of this server was interrupted half-way", hint, snapshot.SOURCE)
    for name, path in settings.source.databases.items():
        snapshot.refuse_what_is_none(name, path)
    snapshot.refuse_without_room(snapshot.needed(settings.source.databases.values()), scratch)
    place, deployment = settings.place, settings.source.deployment
    store = aside(lambda: open_store(place, deployment, settings.state, emit, stopping), stopping)
    left = aside(lambda: unfinished.take_back(store, settings.state), stopping)
    if left:
        emit(Result("backup-left", "what a killed backup had left", CHANGED, 0.0, f"{left}, removed"))
    before = aside(lambda: listed(store), stopping)
    known = [backup.manifest.sequence for backup in before if backup.manifest]
    sequence = max([*known, state.last(settings.state).get("made", {}).get("sequence", 0)], default=0) + 1
    now = time.time()
    id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{secrets.token_hex(3)}"
    state.begin(settings.state, id, store.title)
    return _Work(settings, store, before, id, sequence, now, with_artifacts, scratch, emit, stopping)


@dataclass
class _Work:
    settings: Settings
    store: Store
    before: list[Listed]
    id: str
    sequence: int
    now: float
    with_artifacts: bool
    scratch: str
    emit: Emit
    stopping: Stopping
    index: str = ""  # of the artifacts, in scratch

    def manifest(self, reason: str, started: float) -> Manifest:
        """Everything is put but the manifest itself."""
        self._snapshots()
        members, schema, rows = [], {}, {}
        for name in self.settings.source.databases:
            member, found = self._database(name)
            members.append(member)
            schema[name], rows[name] = found.schema, found.rows
        members.append(self._files())
        artifacts = None
        if self.settings.source.artifacts and self.with_artifacts:
            artifacts, member = self._artifacts()
            members.append(member)
        source, encryption = self.settings.source, self.settings.encryption
        return Manifest(
            id=self.id,
            sequence=self.sequence,
            deployment=source.deployment,
            host=os.uname().nodename,
            reason=reason,
            started=self.now,
            seconds=round(time.monotonic() - started, 3),
            tool_version=self.settings.tool_version,
            mlflow_version=mlflow_version(source.venv),
            python_version=content.python_version(source.venv),
            sqlite_version=sqlite3.sqlite_version,
            members=tuple(members),
            schema=schema,
            rows=rows,
            packs=artifacts.packs if artifacts else (),
            artifacts={"files": artifacts.files, "bytes": artifacts.bytes} if artifacts else None,
            encryption={"recipient": encryption.recipient, "kdf": encryption.kdf} if encryption.recipient else {},
        )

    def put_manifest(self, manifest: Manifest) -> None:
        with step(self.emit, "backup-manifest", "manifest") as told:
            self._put_bytes(f"{self.id}/{NAME}", encode(manifest))
            told.summary = self.id

    def remember(self) -> None:
        """The backup is complete: a failure here costs the next one time, and no more."""
        if self.index:
            with contextlib.suppress(OSError):
                packs.remember(self.index, self.settings.state)

    def _snapshots(self) -> None:
        """All copies right after each other, the smallest first: users and permissions are those of just before. One
        that is newer could give a permission for something that the tracking database does not know yet."""
        databases = sorted(self.settings.source.databases.items(), key=_size)
        total = sum(map(_size, databases))
        done = 0
        with step(self.emit, "backup-snapshot", "snapshot of the databases") as told:
            tell = progress(self.emit, "backup-snapshot")
            for name, path in databases:
                copied = functools.partial(_told, tell, done, total)
                snapshot.snapshot(name, path, self._scratch(name), copied, self.stopping)
                done += os.path.getsize(self._scratch(name))
            told.summary = amount(done)

    def _database(self, name: str) -> tuple[Member, inspection.Content]:
        path = self._scratch(name)
        with step(self.emit, f"backup-{name}", snapshot.title(name)) as told:
            try:
                found = inspection.content(path, inspection.QUICK, self.stopping)
            except AgentError as error:
                if error.kind != "damaged":
                    raise
                raise snapshot.damaged(name, self.settings.source.databases[name], error.message) from None
            member = self._put_file(name, path, f"backup-{name}")
            os.unlink(path)
            told.summary = f"{amount(member.size)}, {amount(member.stored_size)} stored"
        return member, found

    def _files(self) -> Member:
        with step(self.emit, "backup-files", "secrets and configuration") as told:
            packed = content.packed(self.settings.source.files)
            told.summary = ", ".join(sorted(self.settings.source.files))
            return self._put(content.FILES, iter([packed]), len(packed), "backup-files")

    def _artifacts(self) -> tuple[packs.Artifacts, Member]:
        with step(self.emit, "backup-artifacts", "artifacts") as told:
            manifests = [backup.manifest for backup in self.before if backup.manifest]
            key = Key("", self.settings.encryption.python)
            last = packs.previous(self.store, manifests, self.settings, key, self.scratch, self.stopping)
            made = packs.back_up(
                self.settings.source.artifacts,
                self.store,
                last,
                self.settings.encryption,
                self.scratch,
                progress(self.emit, "backup-artifacts"),
                self.stopping,
                lambda key: state.add(self.settings.state, key),
            )
            for note in made.notes:
                self.emit(Output("backup-artifacts", note))
            self.index = made.index
            new = f"{amount(made.new_bytes)} of them new" if made.new_bytes else "nothing new"
            told.summary = f"{made.files:,} file{'s' * (made.files != 1)}, {amount(made.bytes)}, {new}"
            return made, self._put_file(INDEX, made.index, "")

    def _put_file(self, name: str, path: str, told: str) -> Member:
        with open(path, "rb") as file:
            return self._put(name, iter(lambda: file.read(_PIECE), b""), os.path.getsize(path), told)

    def _put(self, name: str, pieces: Iterator[bytes], size: int, told: str) -> Member:
        encryption = self.settings.encryption
        key = f"{self.id}/{name}{suffix(encryption)}"
        state.add(self.settings.state, key)
        tell = counted(progress(self.emit, told), size) if told else lambda count: None
        return Member(name, key, **asdict(store_stream(self.store, key, pieces, encryption, size, tell, self.stopping)))

    def _put_bytes(self, key: str, data: bytes) -> None:
        put_bytes(self.store, key, data, self.stopping)

    def _scratch(self, name: str) -> str:
        return os.path.join(self.scratch, name)


def _size(database: tuple[str, str]) -> int:
    return os.path.getsize(database[1])


def _told(tell: Callable[[int, int], None], before: int, all: int, done: int, total: int) -> None:
    tell(before + done, max(all, before + total))
