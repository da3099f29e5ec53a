"""The store itself moves: everything is copied beside the running server, the rest while it stands still, and then the
server keeps its artifacts in the new place."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable

from mlflow_provision.agent import way_back
from mlflow_provision.agent.apply import apply
from mlflow_provision.agent.moving import records
from mlflow_provision.agent.moving.copying import KEPT, Copying, Job
from mlflow_provision.agent.moving.folder import Folder
from mlflow_provision.agent.moving.guard import guarded
from mlflow_provision.agent.moving.jobs import of_store, pending, refuse_without_room
from mlflow_provision.agent.moving.look import refuse_nested
from mlflow_provision.agent.moving.manifest import Manifest
from mlflow_provision.agent.moving.names import spot
from mlflow_provision.agent.moving.places import Entry, Place
from mlflow_provision.agent.moving.plan import EXPERIMENT, Unit
from mlflow_provision.agent.moving.proof import Proof, proved, refuse_wrong
from mlflow_provision.agent.moving.wanted import Places, Wanted
from mlflow_provision.agent.protocol import CHANGED, OK, AgentError, words
from mlflow_provision.agent.resources import Resource, from_json
from mlflow_provision.agent.resources.base import Context
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.resources.file import replace
from mlflow_provision.agent.steps import Emit, amount, counted, progress, step

Stopping = Callable[[], bool]
_ARRIVED = "arrived.json"  # what was in the new place when the server was to begin with it: path → mark
_WRONG = "the server does not pass its verification with the new place"
_PASSES = 2  # while the server runs
_BESIDE = ("store", "root", "marker", "uv", "release")  # ids of the resources that a running server does not notice


def relocate(wanted: Wanted, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """Do it. Whatever fails: the server runs with the old place, where everything still is."""
    refuse_nested(wanted)
    os.makedirs(wanted.moves, mode=0o700, exist_ok=True)
    places = Places(wanted, stopping)
    source, target = places.ours(), places.new()
    _make_target(wanted, target, stopping)
    target.sweep()
    manifest = Manifest(wanted.copied)
    try:
        with step(emit, "copy", "artifacts copied") as told:
            for _ in range(_PASSES):
                found, _ = _pass(source, target, manifest, emit, stopping)
            told.summary = f"{len(found):,} files, {amount(sum(one.size for one in found))}, each read at both places"
            told.verdict = CHANGED if found else OK
        # Another kind of store may need other packages: nobody waits for their installation without a server.
        apply([one for one in map(from_json, wanted.resources) if one.id in _BESIDE], emit, stopping)
        seconds, checks, proof, found = _switched(wanted, source, target, manifest, emit, stopping)
        there = {entry.name for entry in found}
        record = records.note(wanted, [one for one in manifest.all() if one.to in there])
    finally:
        manifest.close()
    os.unlink(manifest.path)
    return {
        "files": len(found),
        "bytes": sum(entry.size for entry in found),
        "seconds_down": seconds,
        "checks": checks,
        "proof": asdict(proof),
        "record": record,
    }


def _pass(source: Place, target: Place, manifest: Manifest, emit: Emit, stopping: Stopping) -> tuple[list[Entry], int]:
    """Copy what is new or changed since the last pass, and take away what was deleted. Returns all that there is, and
    how much of it somebody was writing to just then."""
    found = source.find(stopping)
    waiting = pending(of_store(source, found), manifest)
    size = sum(job.entry.size for job in waiting)
    refuse_without_room(size, target)
    outcome = Copying(target, manifest, counted(progress(emit, "copy"), size), stopping).run(waiting)
    there = {entry.name for entry in found}
    for copied in manifest.all():
        if copied.to not in there and copied.source == source.title:
            target.delete(copied.to)
            manifest.forget(copied.to)
    return found, outcome.changed


def _switched(
    wanted: Wanted, source: Place, target: Place, manifest: Manifest, emit: Emit, stopping: Stopping
) -> tuple[float, list[dict[str, Any]], Proof, list[Entry]]:
    from mlflow_provision.agent.verify import passed

    new, old = ([from_json(item) for item in items] for items in (wanted.resources, wanted.old_resources))
    ran = bool(wanted.service.status()["running"])
    noted = f"{wanted.moves}/{_ARRIVED}"
    Path(noted).unlink(missing_ok=True)

    def back() -> str:
        return _back(wanted, old, ran, lambda: _brought_back(noted, source, target, manifest))

    with guarded(back):
        try:
            stopped = time.monotonic()
            with step(emit, "last", "what came meanwhile copied, the server stopped") as told:
                wanted.service.stop(lambda: False)
                found, changed = _pass(source, target, manifest, emit, stopping)
                _refuse_changed(source, changed)
                arrived = target.find(stopping)
                _refuse_different(source, target, found, arrived)
                replace(noted, json.dumps({entry.name: entry.mark for entry in arrived}), 0o600)
                told.summary = f"{len(found):,} files at both places"
            apply(new, emit, stopping)
            seconds = round(time.monotonic() - stopped, 1)
            checks = passed(wanted.verify, emit, stopping, _WRONG)
            proof = _proved(wanted, target, found, manifest, emit, stopping)
        except BaseException as error:
            raise _failed(wanted, back, error, emit) from None
    Path(noted).unlink(missing_ok=True)
    return seconds, checks, proof, found


def _refuse_changed(source: Place, changed: int) -> None:
    if changed:
        raise AgentError(
            f"{changed} artifacts of {source.title} are written to although the server is stopped",
            "end what writes there, then run the same command again",
            "busy",
        )


def _refuse_different(source: Place, target: Place, found: list[Entry], arrived: list[Entry]) -> None:
    there = {entry.name: entry.size for entry in arrived}
    wrong = [entry.name for entry in found if there.get(entry.name) != entry.size]
    if wrong:
        raise AgentError(
            f"{len(wrong)} artifacts of {source.title} are not in {target.title}: {', '.join(wrong[:5])}",
            "run the same command again",
        )


def _proved(
    wanted: Wanted, target: Place, found: list[Entry], manifest: Manifest, emit: Emit, stopping: Stopping
) -> Proof:
    """Every folder of the second level (a run, a model) is a unit here."""
    paths = {"/".join(entry.name.split("/")[:2]) for entry in found if entry.name.count("/") > 1}
    place = spot(wanted.to)
    assert place is not None  # noqa: S101 - `new()` has refused it
    units = [Unit(EXPERIMENT, path, place.below(path), path, True) for path in sorted(paths)]
    sums = {one.to: one.sha256 for one in manifest.all()}
    with step(emit, "proof", "artifacts read through the server") as told:
        below = Places(wanted, stopping).new_below
        proof = proved(wanted.verify, units, below, sums, wanted.thorough, stopping)
        refuse_wrong(proof)
        told.verdict, told.summary = OK, proof.summary()
    return proof


def _back(wanted: Wanted, old: list[Resource], ran: bool, bring_back: Callable[[], str]) -> str:
    """The server as it was, with what clients sent it meanwhile. Safe to repeat."""
    wanted.service.stop(lambda: False)
    brought = bring_back()
    apply(old, lambda event: None, lambda: False)
    if not ran:
        wanted.service.stop(lambda: False)
        return f"the artifacts are in {wanted.destination} as before; the server is stopped, as it was{brought}"
    return f"the server runs with {wanted.destination} as before{brought}"


def _brought_back(noted: str, source: Place, target: Place, manifest: Manifest) -> str:
    """Copy what clients have sent to the new place since the server began to use it, or say where it is."""
    if not os.path.exists(noted):  # it never began
        return ""
    try:
        before = json.loads(Path(noted).read_text())
        late = [entry for entry in target.find(lambda: False) if before.get(entry.name) != entry.mark]
        copying = Copying(source, manifest, lambda size: None, lambda: False)
        for entry in late:
            copying.over(Job(target, entry, entry.name))
    except (AgentError, OSError, ValueError) as error:
        return f"; what clients sent it meanwhile is in {target.title} only: {words(error)[0]}"
    Path(noted).unlink(missing_ok=True)
    return f", and {len(late):,} artifacts that came meanwhile were brought back" if late else ""


def _failed(wanted: Wanted, back: Callable[[], str], error: BaseException, emit: Emit) -> AgentError:
    def undone() -> str:
        with step(emit, "undo", "undoing the move") as told:
            told.summary = back()
        return f"{told.summary}; {KEPT}"

    return way_back.gone(error, undone, "put it right: mlflow-provision setup NAME")


def _make_target(wanted: Wanted, target: Place, stopping: Stopping) -> None:
    if isinstance(target, Folder):
        folder = Directory("artifacts", target.path, 0o750, wanted.owner, wanted.owner)
        if folder.check(Context()):
            folder.apply(Context(stopping=stopping))
