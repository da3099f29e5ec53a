"""What earlier moves have copied, and from where: the originals, until they are deleted."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Callable, Iterator

from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.moving.copying import sha256_of
from mlflow_provision.agent.moving.folder import LINK
from mlflow_provision.agent.moving.jobs import Listing
from mlflow_provision.agent.moving.manifest import Copied, Manifest
from mlflow_provision.agent.moving.names import Spot, has_place, inside, spot
from mlflow_provision.agent.moving.places import Place
from mlflow_provision.agent.moving.rows import opened, places_named
from mlflow_provision.agent.moving.wanted import Places, Wanted
from mlflow_provision.agent.protocol import CHANGED, OK, AgentError
from mlflow_provision.agent.resources.file import replace
from mlflow_provision.agent.s3.verdict import KIND as STORE
from mlflow_provision.agent.steps import Emit, amount, counted, progress, step

_PREFIX = "moved-"
_THREADS = 8
_LOOK = 0.2


def keep(wanted: Wanted, listing: Listing, manifest: Manifest) -> str:
    """Note what a move has copied; "" when it copied nothing."""
    wanted_paths = {job.to for job in listing.jobs}
    copied = [one for one in manifest.all() if one.to in wanted_paths or not listing.jobs]
    return note(wanted, copied)


def note(wanted: Wanted, copied: list[Copied]) -> str:
    """The id of a new record of these artifacts."""
    if not copied:
        return ""
    id = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    while os.path.exists(_path(wanted, id)):
        id += "x"
    replace(_path(wanted, id), "".join(json.dumps(asdict(one)) + "\n" for one in copied), 0o600)
    return id


def shown(wanted: Wanted) -> list[dict[str, Any]]:
    """Every record: `id`, `files`, `bytes`, and the `places` that originals are in, by their tops."""
    found = []
    for id, copied in _records(wanted):
        tops = {_top(one) for one in copied}
        found.append(
            {"id": id, "files": len(copied), "bytes": sum(one.size for one in copied), "places": sorted(tops)[:5]}
        )
    return found


@dataclass
class _Tally:
    files: int = 0
    bytes: int = 0
    kept: int = 0


def delete(wanted: Wanted, emit: Emit, stopping: Callable[[], bool]) -> dict[str, Any]:
    """Delete the originals of earlier moves: those that are what they were, whose copy has the sha256 it had, and whose
    place no row of the database names any more. The answer: `files`, `bytes`, and how many were `kept`, with `why`."""
    places = Places(wanted, stopping)
    with opened(wanted) as connection:
        named = [place for uri in places_named(connection) if has_place(uri) and (place := spot(uri))]
    tally, why = _Tally(), defaultdict(int)  # type: _Tally, defaultdict[str, int]
    for id, copied in list(_records(wanted)):
        with step(emit, "delete", f"originals of the move of {id}") as told:
            before = _Tally(tally.files, tally.bytes, tally.kept)
            total = sum(one.size for one in copied)
            left = _deleted(
                wanted, places, copied, named, tally, why, counted(progress(emit, "delete"), total), stopping
            )
            if left:
                replace(_path(wanted, id), "".join(json.dumps(asdict(one)) + "\n" for one in left), 0o600)
            else:
                Path(_path(wanted, id)).unlink(missing_ok=True)
            files = tally.files - before.files
            told.summary = f"{files:,} files, {amount(tally.bytes - before.bytes)}"
            told.verdict = CHANGED if files else OK
    return {"files": tally.files, "bytes": tally.bytes, "kept": tally.kept, "why": dict(why)}


def _deleted(
    wanted: Wanted,
    places: Places,
    copied: list[Copied],
    named: list[Spot],
    tally: _Tally,
    why: defaultdict[str, int],
    tell: Callable[[int], object],
    stopping: Callable[[], bool],
) -> list[Copied]:
    """What could not be deleted, of one record."""
    by_source: dict[str, list[Copied]] = defaultdict(list)
    for one in copied:
        by_source[one.source].append(one)
    target = places.ours()
    left: list[Copied] = []
    lock = threading.Lock()
    waiting: SimpleQueue[tuple[Place, Copied, str]] = SimpleQueue()
    for title, all_of_it in by_source.items():
        source = spot(title)
        reason = "" if source else "its place is not known"
        if source and (inside(wanted.kept, source) is not None or inside(source, wanted.kept) is not None):
            reason = "the server keeps its artifacts there now"
        if source and any(inside(place, source) is not None or inside(source, place) is not None for place in named):
            reason = reason or "the database names this place again"
        if reason or source is None:
            why[reason] += len(all_of_it)
            left += all_of_it
            continue
        try:
            place = places.of(source)
            there = {entry.name: entry for entry in place.find(stopping)}
        except AgentError as error:
            if error.kind not in (LINK, STORE) or stopping():
                raise
            why[error.message] += len(all_of_it)
            left += all_of_it
            continue
        for one in all_of_it:
            entry = there.get(one.name)
            if entry is None:
                continue  # gone already
            same = (entry.size, entry.mark) == (one.size, one.mark)
            waiting.put((place, one, "" if same else "it was changed after it was copied"))

    failures: list[BaseException] = []

    def work() -> None:
        while not failures and not stopping():
            try:
                place, one, reason = waiting.get_nowait()
            except Empty:
                return
            try:
                reason = reason or _copy_is_gone(target, one)
                if not reason:
                    place.delete(one.name)
            except BaseException as error:
                failures.append(error)
                with lock:
                    left.append(one)
                return
            with lock:
                tell(one.size)
                if reason:
                    why[reason] += 1
                    left.append(one)
                else:
                    tally.files += 1
                    tally.bytes += one.size

    threads = [threading.Thread(target=work, daemon=True) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_LOOK)
    tally.kept += len(left)
    if failures:
        raise failures[0]
    raise_if(stopping)
    return left


def _copy_is_gone(target: Place, one: Copied) -> str:
    """Why an original must stay because of its copy; "" when the copy is as it was."""
    if target.look(one.to) is None:
        return "its copy is not there any more"
    with contextlib.suppress(AgentError):
        if sha256_of(target, one.to) == one.sha256:
            return ""
    return "its copy has other contents by now"


def _records(wanted: Wanted) -> Iterator[tuple[str, list[Copied]]]:
    for path in sorted(glob.glob(f"{glob.escape(wanted.moves)}/{_PREFIX}*.jsonl")):
        id = os.path.basename(path)[len(_PREFIX) : -len(".jsonl")]
        if wanted.record in ("", id):
            yield id, [Copied(**json.loads(line)) for line in Path(path).read_text("utf-8").splitlines()]


def _path(wanted: Wanted, id: str) -> str:
    return f"{wanted.moves}/{_PREFIX}{id}.jsonl"


def _top(one: Copied) -> str:
    """The place of an original without what is of one run."""
    to = one.to[: -len(one.name) - 1] if one.to.endswith(f"/{one.name}") else ""
    return one.source[: -len(to)].rstrip("/") if to and one.source.endswith(to) else one.source
