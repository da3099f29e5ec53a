"""Is every artifact of a backup there, byte by byte? Each pack is read once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Callable

from mlflow_provision.agent.backup.artifacts import index
from mlflow_provision.agent.backup.artifacts.archive import Unpacking
from mlflow_provision.agent.backup.artifacts.known import room_in
from mlflow_provision.agent.backup.artifacts.previous import note_checked
from mlflow_provision.agent.backup.artifacts.wanted import Wanted
from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.backup.codec import Key, check_stored, damaged, load_stream
from mlflow_provision.agent.backup.manifest import Manifest, Member
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.protocol import AgentError

_HINT = (
    "what else is in this backup can still be restored, and the next backup stores anew what is still on the host: "
    "back up now"
)


@dataclass(frozen=True)
class Checked:
    """What was found to be right."""

    files: int
    bytes: int
    packs: int


def check(
    store: Store,
    manifest: Manifest,
    key: Key,
    scratch: str,
    state: str,
    progress: Callable[[int, int], object],
    stopping: Callable[[], bool],
) -> Checked:
    """Compare every file of the index with what is in the packs. Raises AgentError of kind "damaged" after all of them.

    Damaged packs are noted in `state`, so that the next backup does not build on them.
    """
    if manifest.artifacts is None:
        return Checked(0, 0, 0)
    with room_in(scratch), Wanted(store, manifest, key, scratch, stopping) as wanted:
        known = {index.pack_id(pack) for pack in manifest.packs}
        lost = {name: files for name, files in wanted.packs().items() if name and name not in known}
        if lost:
            hint = "take another backup of `mlflow-provision backup list`"
            message = f"the manifest of {manifest.id} does not name the packs of {sum(lost.values())} artifacts"
            raise AgentError(message, hint, "damaged")
        _all_packs(
            store,
            manifest,
            lambda pack, told: _check_pack(store, pack, key, wanted, told, stopping),
            state,
            progress,
            sum(pack.size for pack in manifest.packs),
        )
        return Checked(wanted.files, wanted.bytes, len(manifest.packs))


def check_sums(
    store: Store,
    manifest: Manifest,
    state: str,
    progress: Callable[[int, int], object],
    stopping: Callable[[], bool],
) -> None:
    """The same without a key: only that every pack is what was stored."""
    total = sum(pack.stored_size for pack in manifest.packs)
    _all_packs(store, manifest, lambda pack, told: check_stored(store, pack, stopping, told), state, progress, total)


def _all_packs(
    store: Store,
    manifest: Manifest,
    look: Callable[[Member, Callable[[int], None]], None],
    state: str,
    progress: Callable[[int, int], object],
    total: int,
) -> None:
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        progress(min(done, total), total)

    good: list[str] = []
    bad: dict[str, AgentError] = {}
    try:
        for pack in manifest.packs:
            try:
                look(pack, told)
                good.append(pack.key)
            except AgentError as error:
                if error.kind != "damaged":
                    raise
                bad[pack.key] = error
    finally:
        note_checked(state, bad, good)
    if bad:
        first = next(iter(bad.values())).message
        message = (
            f"{len(bad)} of {len(manifest.packs)} packs of artifacts are damaged; {first}" if len(bad) > 1 else first
        )
        raise AgentError(message, _HINT, "damaged")


def _check_pack(
    store: Store,
    pack: Member,
    key: Key,
    wanted: Wanted,
    told: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    contents = _Contents(wanted, index.pack_id(pack))
    unpacking = Unpacking(contents.begin, contents.data, contents.end)

    def sink(piece: bytes) -> None:
        raise_if(stopping)
        unpacking(piece)

    load_stream(store, pack, sink, key, stopping, told)
    if contents.wrong or contents.next or not unpacking.complete:
        raise damaged(store, pack, "its files are not those that the index names")


class _Contents:
    """Compares the entries of a pack, as they come, with those that the index names."""

    def __init__(self, wanted: Wanted, pack: str) -> None:
        self._expected = wanted.contents(pack)
        self.next = next(self._expected, None)
        self.wrong = 0
        self._digest = hashlib.sha256()
        self._looking = False

    def begin(self, number: int, size: int) -> None:
        self._looking = self.next is not None and self.next[0] == number
        if self._looking and self.next and self.next[1] != size:
            self.wrong += 1
        if self._looking:
            self._digest = hashlib.sha256()

    def data(self, piece: memoryview) -> None:
        if self._looking:
            self._digest.update(piece)

    def end(self) -> None:
        if not self._looking or self.next is None:
            return
        if self._digest.hexdigest() != self.next[2]:
            self.wrong += 1
        self.next = next(self._expected, None)
