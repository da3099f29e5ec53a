"""Can this backup be restored? Everything is fetched, opened and compared, in a scratch place on the host."""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass, field
from typing import Any, Callable

from mlflow_provision.agent.backup import age, content, state
from mlflow_provision.agent.backup.artifacts import packs
from mlflow_provision.agent.backup.artifacts.index import NAME as INDEX
from mlflow_provision.agent.backup.codec import Key, check_stored, load_stream, put_bytes
from mlflow_provision.agent.backup.listing import DAMAGED, mark, marked
from mlflow_provision.agent.backup.manifest import VERIFIED, Manifest, Member
from mlflow_provision.agent.backup.settings import Settings
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.databases import inspection, snapshot
from mlflow_provision.agent.protocol import FAILED, OK, SKIPPED, AgentError
from mlflow_provision.agent.steps import Emit, amount, counted, one_at_a_time, progress, step

FULL = "full"
SUMS = "sums"  # every stored byte is right, but nothing could be decrypted
_MEANING = {FULL: "it can be restored", SUMS: "its sums are right", DAMAGED: "it is damaged"}
_HINT = "take another one of `mlflow-provision backup list`, and make a new one now: mlflow-provision backup"

Stopping = Callable[[], bool]


def verify(
    settings: Settings,
    store: Store,
    manifest: Manifest,
    key: Key,
    emit: Emit,
    stopping: Stopping,
    operator: str = "",
) -> dict[str, Any]:
    """Check all of a backup and mark it; the answer is {"id", "level", "checks": [{"title", "verdict", "summary"}]}.

    Without an identity, what is encrypted is only compared with its sums. Raises AgentError of kind "damaged" after
    everything has been looked at, "key" at once for a wrong identity. What was found damaged is marked as that.
    """
    emit = one_at_a_time(emit)
    what = f"backup verify {manifest.id}"
    with state.working(settings.state, what, operator) as scratch, state.noting(settings.state, "verified", what):
        if key.identity:
            _refuse_wrong_key(manifest, key)
        work = _Work(settings, store, manifest, key, scratch, emit, stopping)
        work.look()
        level = DAMAGED if work.problems else FULL if work.opens else SUMS
        work.mark(level)
        if work.problems:
            count = f"{len(work.problems)} parts of it; the first: " if len(work.problems) > 1 else ""
            raise AgentError(f"the backup {manifest.id} is damaged: {count}{work.problems[0]}", _HINT, "damaged")
        place = settings.place.destination
        state.succeeded(settings.state, "verified", id=manifest.id, level=level, place=place)
        return {"id": manifest.id, "level": level, "checks": work.checks}


def _refuse_wrong_key(manifest: Manifest, key: Key) -> None:
    """Before anything is fetched."""
    recipient = manifest.encryption.get("recipient", "")
    if recipient and age.recipient_of(key.identity, key.python) != recipient:
        what = "passphrase" if manifest.encryption.get("kdf") else "identity"
        raise age.WrongKey(f"the {what} is not the one that the backup {manifest.id} was encrypted for")


@dataclass
class _Work:
    settings: Settings
    store: Store
    manifest: Manifest
    key: Key
    scratch: str
    emit: Emit
    stopping: Stopping
    checks: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def opens(self) -> bool:
        return bool(self.key.identity) or not self.manifest.encryption

    def look(self) -> None:
        """All parts, whatever is wrong with one of them."""
        for member in self.manifest.members:
            look = self._sums
            if self.opens and member.name in self.manifest.rows:
                look = self._database
            elif self.opens and member.name == content.FILES:
                look = self._files
            elif self.opens and member.name == INDEX:
                continue  # with what it names
            self._check(member.name, _title(member.name), functools.partial(look, member))
        if self.manifest.artifacts is not None:
            self._check("packs", "artifacts", self._artifacts)

    def mark(self, level: str) -> None:
        """Say it in the store. Where that may not be written, the host itself remembers.

        Who has no key does not take back what somebody with the key has found."""
        with step(self.emit, "verify-mark", "noted in the store") as told:
            key = f"{self.manifest.id}/{VERIFIED}"
            try:
                if level == SUMS and marked(self.store, self.manifest).get("level") == FULL:
                    told.verdict, told.summary = SKIPPED, "it was verified in full before"
                    return
                put_bytes(self.store, key, mark(self.manifest, time.time(), level, self.problems), self.stopping)
                told.summary = _MEANING[level]
            except AgentError as error:
                if error.kind == "interrupted":
                    raise
                told.verdict, told.summary = SKIPPED, error.message

    def _check(self, name: str, title: str, look: Callable[[Callable[[int, int], None]], str]) -> None:
        verdict = OK
        try:
            with step(self.emit, f"verify-{name}", f"{title}, read back") as told:
                told.verdict = OK
                summary = told.summary = look(progress(self.emit, f"verify-{name}"))
        except AgentError as error:
            if error.kind != "damaged":
                raise
            verdict, summary = FAILED, error.message
            self.problems.append(error.message)
        self.checks.append({"title": title, "verdict": verdict, "summary": summary})

    def _sums(self, member: Member, tell: Callable[[int, int], None]) -> str:
        check_stored(self.store, member, self.stopping, counted(tell, member.stored_size))
        return f"{amount(member.stored_size)}, its sum is right"

    def _database(self, member: Member, tell: Callable[[int, int], None]) -> str:
        snapshot.refuse_without_room(member.size, self.scratch)
        path = os.path.join(self.scratch, "verified.db")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                load_stream(self.store, member, file.write, self.key, self.stopping, counted(tell, member.size))
            found = self._opened(member, path)
        finally:
            os.unlink(path)
        if found.schema != self.manifest.schema.get(member.name, ""):
            wanted = self.manifest.schema.get(member.name, "")
            raise AgentError(
                f"{member.name} has the schema {found.schema or 'of nobody'}, not {wanted}", kind="damaged"
            )
        expected = self.manifest.rows[member.name]
        wrong = [name for name in sorted({*expected, *found.rows}) if expected.get(name) != found.rows.get(name)]
        if wrong:
            rows = f"{found.rows.get(wrong[0], 'no')} rows in {wrong[0]}, not {expected.get(wrong[0], 'any')}"
            raise AgentError(f"{member.name} has {rows}", kind="damaged")
        return f"{amount(member.size)}, {sum(expected.values()):,} rows in {len(expected)} tables"

    def _opened(self, member: Member, path: str) -> inspection.Content:
        try:
            return inspection.content(path, inspection.THOROUGH, self.stopping)
        except AgentError as error:
            if error.kind != "damaged":
                raise
            why = f"{member.name} is what was backed up, but was damaged already then: {error.message}"
            raise AgentError(why, kind="damaged") from None

    def _files(self, member: Member, tell: Callable[[int, int], None]) -> str:
        found = bytearray()
        load_stream(self.store, member, found.extend, self.key, self.stopping, counted(tell, member.size))
        return ", ".join(content.names(bytes(found)))

    def _artifacts(self, tell: Callable[[int, int], None]) -> str:
        if not self.opens:
            packs.check_sums(self.store, self.manifest, self.settings.state, tell, self.stopping)
            return f"{len(self.manifest.packs)} packs, their sums are right"
        found = packs.check(self.store, self.manifest, self.key, self.scratch, self.settings.state, tell, self.stopping)
        return f"{found.files:,} files, {amount(found.bytes)}"


def _title(name: str) -> str:
    return {content.FILES: "secrets and configuration", INDEX: "index of the artifacts"}.get(name, snapshot.title(name))
