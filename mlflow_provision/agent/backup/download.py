"""A backup as it is stored, copied to another place: what is encrypted stays encrypted, and the manifest comes last."""

from __future__ import annotations

from typing import Any, Callable, Iterator

from mlflow_provision.agent.backup.codec import put_bytes, put_pieces, stored_pieces
from mlflow_provision.agent.backup.manifest import NAME, Manifest, encode
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.steps import Emit, amount, counted, one_at_a_time, progress, step

STEP = "download"


def download(store: Store, manifest: Manifest, to: Store, emit: Emit, stopping: Callable[[], bool]) -> dict[str, Any]:
    """Copy a backup and all that it needs; the answer is {"id", "stored_size", "place"}. Every sum is checked.

    An interrupted download goes on where it was: objects are whole or not there, and no other one has the same name.
    One that is complete is fetched anew.
    """
    emit = one_at_a_time(emit)
    there = {entry.key: entry.size for entry in to.list()}
    last = f"{manifest.id}/{NAME}"
    members = (*manifest.packs, *manifest.members)
    with step(emit, STEP, f"backup {manifest.id}") as told:
        more = counted(progress(emit, STEP), sum(member.stored_size for member in members))
        for member in members:
            if last not in there and there.get(member.key) == member.stored_size:
                more(member.stored_size)
                continue
            pieces = _told(stored_pieces(store, member, stopping), more)
            put_pieces(to, member.key, pieces, member.stored_size, stopping)
        put_bytes(to, last, encode(manifest), stopping)
        told.summary = f"{amount(manifest.stored_size)} in {to.title}"
    return {"id": manifest.id, "stored_size": manifest.stored_size, "place": to.title}


def _told(pieces: Iterator[bytes], more: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        more(len(piece))
        yield piece
