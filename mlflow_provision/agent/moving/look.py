"""What a move would do, in counts and bytes. Nothing is changed."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Any, Callable

from mlflow_provision.agent.moving import jobs, records, rows
from mlflow_provision.agent.moving.jobs import of_store, pending
from mlflow_provision.agent.moving.manifest import Manifest
from mlflow_provision.agent.moving.names import Spot, inside, spot
from mlflow_provision.agent.moving.plan import Plan, Unit, left_in_words
from mlflow_provision.agent.moving.wanted import Places, Wanted
from mlflow_provision.agent.protocol import OK, AgentError
from mlflow_provision.agent.steps import Emit, amount, step

Stopping = Callable[[], bool]


def look(wanted: Wanted, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """What a move would do, in counts and bytes. Changes nothing."""
    plan = rows.planned(wanted)
    places = Places(wanted, stopping)
    copied = [unit for unit in plan.units if unit.copied]
    with step(emit, "list", "artifacts to copy listed") as told:
        listing = jobs.listed(copied, lambda unit: places.of(unit.source), stopping)
        told.verdict, told.summary = OK, f"{len(listing.jobs):,} files, {amount(listing.bytes)}"
    known = _known(wanted)
    waiting = [job for job in listing.jobs if known.get(job.to) != [job.source.title, job.entry.size, job.entry.mark]]
    return {
        **counted_by(plan, listing),
        "files": len(listing.jobs),
        "bytes": listing.bytes,
        "files_left": len(waiting),
        "bytes_left": sum(job.entry.size for job in waiting),
        "room": _room(wanted),
        "unfinished": os.path.exists(wanted.journal),
        "originals": records.shown(wanted),
    }


def look_at_store(wanted: Wanted, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """How much there is to copy, and how much of it an earlier run has copied. Changes nothing."""
    refuse_nested(wanted)
    places = Places(wanted, stopping)
    with step(emit, "list", "artifacts listed") as told:
        ours = places.ours()
        found = ours.find(stopping)
        size = sum(entry.size for entry in found)
        told.verdict, told.summary = OK, f"{len(found):,} files, {amount(size)}"
    left = found
    if os.path.exists(wanted.copied):
        with contextlib.closing(Manifest(wanted.copied)) as manifest:
            left = [job.entry for job in pending(of_store(ours, found), manifest)]
    plan = rows.planned(wanted)
    return {
        "files": len(found),
        "bytes": size,
        "files_left": len(left),
        "bytes_left": sum(entry.size for entry in left),
        "direct": sum(not unit.copied for unit in plan.units),
        "originals": records.shown(wanted),
    }


def refuse_nested(wanted: Wanted) -> None:
    """Raise AgentError where the store would move into itself, or out of what it is in."""
    new = spot(wanted.to)
    if new and (inside(new, wanted.kept) is not None or inside(wanted.kept, new) is not None):
        raise AgentError(
            f"{wanted.to} and {wanted.destination} are one inside of the other",
            "take another prefix, or another folder",
            "nested",
        )


def counted_by(plan: Plan, listing: jobs.Listing) -> dict[str, Any]:
    """What goes, and what stays, in numbers that people are shown."""
    left = {**plan.left}
    for why, places in listing.left.items():
        left[why] = left.get(why, []) + places
    copied = {unit.to for unit in listing.units}
    units = [unit for unit in plan.units if not unit.copied or unit.to in copied]
    kinds: dict[str, dict[str, int]] = {}
    for unit in units:
        counts = kinds.setdefault(unit.kind, {"renamed": 0, "copied": 0})
        counts["copied" if unit.copied else "renamed"] += 1
    sources: dict[str, int] = {}
    for unit in units:
        if unit.copied:
            top = _top(unit)
            sources[top] = sources.get(top, 0) + 1
    return {
        "rows": plan.counts(copied),
        "units": kinds,
        "sources": sources,
        "left": left_in_words(left),
        "unprotected": plan.unprotected,
    }


def _top(unit: Unit) -> str:
    """What the places of many runs have in common, as MLflow names them."""
    path = unit.source.path
    top = path[: -len(unit.to)].rstrip("/") if path.endswith(unit.to) else path
    return Spot(unit.source.bucket, top).title


def _known(wanted: Wanted) -> dict[str, list[Any]]:
    if not os.path.exists(wanted.copied):
        return {}
    with contextlib.closing(Manifest(wanted.copied)) as manifest:
        return {one.to: [one.source, one.size, one.mark] for one in manifest.all()}


def _room(wanted: Wanted) -> int | None:
    """Bytes free where the copies go; None for a bucket."""
    place = wanted.kept
    if place.bucket or not os.path.isdir(place.path):
        return None
    return shutil.disk_usage(place.path).free
