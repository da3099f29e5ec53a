"""Old places come under the proxy: copied beside the running server, rewritten while it stands still, and proved."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable

from mlflow_provision.agent import way_back
from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.moving import jobs, records, rows
from mlflow_provision.agent.moving.copying import KEPT, Copying, Outcome
from mlflow_provision.agent.moving.guard import guarded
from mlflow_provision.agent.moving.look import counted_by
from mlflow_provision.agent.moving.manifest import Manifest
from mlflow_provision.agent.moving.plan import Plan
from mlflow_provision.agent.moving.proof import Proof, proved, refuse_wrong
from mlflow_provision.agent.moving.wanted import Places, Wanted
from mlflow_provision.agent.protocol import CHANGED, OK, AgentError
from mlflow_provision.agent.resources.file import replace
from mlflow_provision.agent.steps import Emit, amount, counted, progress, step

Stopping = Callable[[], bool]
REASON = "before moving artifacts"


def move(wanted: Wanted, operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """Do it. Whatever fails once the server was stopped: the old places are written again, and it runs as before."""
    _make_folder(wanted)
    undone(wanted, emit)
    manifest = Manifest(wanted.copied)
    places = Places(wanted, stopping)
    try:
        listing, outcome = _copy(wanted, places, manifest, emit, stopping)
        copied = {unit.to for unit in listing.units}
        if not rows.planned(wanted).ready(copied):
            return {"nothing": True}
        backup = _backed_up(wanted, operator, emit, stopping)
        plan, seconds, checks, proof = _switched(wanted, places, copied, manifest, emit, stopping)
        late = _late(wanted, places, listing, manifest, emit)
        record = records.keep(wanted, listing, manifest)
    finally:
        manifest.close()
    Path(manifest.path).unlink(missing_ok=True)
    return {
        **counted_by(plan, listing),
        "files": outcome.files,
        "bytes": outcome.bytes,
        "late": late,
        "backup": backup,
        "seconds_down": seconds,
        "checks": checks,
        "proof": asdict(proof),
        "record": record,
    }


def undone(wanted: Wanted, emit: Emit) -> None:
    """Take back what a move that lost its power had written."""
    journal = wanted.journal
    if os.path.exists(journal):
        with step(emit, "undo", "undoing a move that was interrupted") as told:
            told.summary = f"{rows.put_back(wanted, wanted.old_rows):,} places as before"
            os.unlink(journal)


def _copy(
    wanted: Wanted, places: Places, manifest: Manifest, emit: Emit, stopping: Stopping
) -> tuple[jobs.Listing, Outcome]:
    """Everything that can be copied while the server runs, and once more what came or changed meanwhile."""
    target = places.ours()
    target.sweep()
    total = Outcome()
    with step(emit, "copy", "artifacts copied") as told:
        for _ in range(2):
            units = [unit for unit in rows.planned(wanted).units if unit.copied]
            listing = jobs.listed(units, lambda unit: places.of(unit.source), stopping)
            waiting = jobs.pending(listing.jobs, manifest)
            size = sum(job.entry.size for job in waiting)
            jobs.refuse_without_room(size, target)
            outcome = Copying(target, manifest, counted(progress(emit, "copy"), size), stopping).run(waiting)
            total.changed = outcome.changed
        total.files, total.bytes = len(listing.jobs), listing.bytes
        told.verdict = CHANGED if total.files else OK
        told.summary = (
            f"{total.files:,} files, {amount(total.bytes)}, each read at both places" if total.files else "none"
        )
    if total.changed:
        raise AgentError(
            f"{total.changed} artifacts are being written just now, at their old places",
            "wait until their runs have ended, then run the same command again",
            "busy",
        )
    return listing, total


def _backed_up(wanted: Wanted, operator: str, emit: Emit, stopping: Stopping) -> str:
    """The id of a backup of the databases that was read back."""
    from mlflow_provision.agent.backup.actions import act

    settings = wanted.settings
    if settings is None:
        raise AgentError("a move needs a place for the backup that it makes first")
    data = {"action": "make", "reason": REASON, "artifacts": False, "verify": True, "identity": wanted.identity}
    made = as_user(wanted.owner, lambda: act(settings, data, operator, emit, stopping), stopping)
    return str(made["backup"]["id"])


def _switched(
    wanted: Wanted, places: Places, copied: set[str], manifest: Manifest, emit: Emit, stopping: Stopping
) -> tuple[Plan, float, list[dict[str, Any]], Proof]:
    """The server stands still, its database is rewritten, it runs again, and is proved."""
    from mlflow_provision.agent.verify import passed

    noted = wanted.old_rows
    status = wanted.service.status()
    ran = bool(status["running"])
    with guarded(lambda: _back(wanted, ran)):
        try:
            with step(emit, "rewrite", "places rewritten") as told:
                stopped = time.monotonic()
                wanted.service.stop(lambda: False)
                _journal(wanted)
                plan, changed = rows.rewrite(wanted, copied, noted)
                told.summary = f"{len(changed):,} in the tracking database"
            with step(emit, "start", wanted.service.title) as told:
                wanted.service.start(stopping)
                seconds = round(time.monotonic() - stopped, 1)
                told.summary = f"it was down for {seconds:.0f} s"
            checks = passed(wanted.verify, emit, stopping, "the server does not pass its verification")
            proof = _proved(wanted, places, plan, copied, manifest, emit, stopping)
            os.unlink(wanted.journal)
        except BaseException as error:
            raise _failed(wanted, error, ran, emit) from None
    return plan, seconds, checks, proof


def _proved(
    wanted: Wanted, places: Places, plan: Plan, copied: set[str], manifest: Manifest, emit: Emit, stopping: Stopping
) -> Proof:
    units = [unit for unit in plan.units if not unit.copied or unit.to in copied]
    sums = {one.to: one.sha256 for one in manifest.all()}
    with step(emit, "proof", "artifacts read through the server") as told:
        proof = proved(wanted.verify, units, places.ours, sums, wanted.thorough, stopping)
        refuse_wrong(proof)
        told.verdict, told.summary = OK, proof.summary()
    return proof


def _late(wanted: Wanted, places: Places, listing: jobs.Listing, manifest: Manifest, emit: Emit) -> int:
    """What clients that still had the old place wrote until now: the server has moved, nothing may fail any more."""
    try:
        found = jobs.listed(listing.units, lambda unit: places.of(unit.source), lambda: False)
        waiting = jobs.pending(found.jobs, manifest)
        if not waiting:
            return 0
        with step(emit, "late", "artifacts that came meanwhile copied") as told:
            outcome = Copying(places.ours(), manifest, lambda size: None, lambda: False).run(waiting)
            told.summary = f"{outcome.files:,} files"
            return outcome.files
    except (AgentError, OSError):
        return 0


def _back(wanted: Wanted, ran: bool) -> str:
    """The old places, and the server as it was. Safe to repeat."""
    journal = wanted.journal
    if os.path.exists(journal):
        wanted.service.stop(lambda: False)
        rows.put_back(wanted, wanted.old_rows)
        os.unlink(journal)
    if not ran:
        wanted.service.stop(lambda: False)
        return "the places are as they were; the server is stopped, as it was"
    wanted.service.start(lambda: False)
    return "the places are as they were, and the server runs again"


def _failed(wanted: Wanted, error: BaseException, ran: bool, emit: Emit) -> AgentError:
    def back() -> str:
        with step(emit, "undo", "undoing the move") as told:
            told.summary = _back(wanted, ran)
        return f"{told.summary}; {KEPT}"

    return way_back.gone(error, back, "run the same command again: it goes on undoing first")


def _journal(wanted: Wanted) -> None:
    # The rows of an earlier move must never be taken for those of this one.
    replace(wanted.old_rows, "", 0o600)
    replace(wanted.journal, json.dumps({"since": time.time()}) + "\n", 0o600)


def _make_folder(wanted: Wanted) -> None:
    os.makedirs(wanted.moves, mode=0o700, exist_ok=True)
