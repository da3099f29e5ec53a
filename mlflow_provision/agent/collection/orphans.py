"""Folders of artifacts that belong to nothing: the run, model or trace of that id is not in the database.

They are left by traces that were deleted in MLflow, by uploads after a run was removed, by tools that removed rows
only. Nothing in the store says whose they are. So: only what is called as MLflow calls it, only what is older than a
day, and only where no other server keeps its artifacts.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

from mlflow_provision.agent.collection.locations import TRACES, Locations, Where
from mlflow_provision.agent.collection.settings import Settings
from mlflow_provision.agent.collection.survey import Folder, measured, together
from mlflow_provision.agent.collection.trash import opened
from mlflow_provision.agent.protocol import AgentError

DAY = 86400.0
FEW = 20  # so many unknown folders say nothing about whose place this is
_EXPERIMENT = re.compile(r"[0-9]{1,20}")
_NAMES = {
    "": re.compile(r"[0-9a-f]{32}"),
    "models": re.compile(r"m-[0-9a-f]{32}"),
    TRACES: re.compile(r"(tr-)?[0-9a-f]{32}"),
}
_IDS = re.compile(r"(?<![0-9a-z])(?:m-|tr-)?[0-9a-f]{32}(?![0-9a-z])")
_KNOWN = {"runs": "run_uuid", "logged_models": "model_id", "trace_info": "request_id"}
_MENTIONED = {
    "model_versions": ("source", "storage_location"),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "experiments": ("artifact_location",),
    "trace_tags": ("value",),
    "inputs": ("source_id", "destination_id"),
}


@dataclass
class Orphans:
    """The folders, and how many of the same kind in the store are of something that is known."""

    folders: list[Folder]
    known: int
    young: int

    def as_json(self) -> dict[str, Any]:
        return {
            "folders": len(self.folders),
            "files": sum(folder.files for folder in self.folders),
            "bytes": sum(folder.size for folder in self.folders),
            "examples": [folder.where.folder for folder in self.folders[:5]],
            "known": self.known,
            "young": self.young,
        }


def found(
    wanted: Settings, locations: Locations, stopping: Callable[[], bool], told: Callable[[int], object]
) -> Orphans:
    """All of them, counted. Raises AgentError where another server may own what looks like an orphan."""
    _refuse_a_shared_place(wanted)
    place = locations.own
    # The store first: whatever is put there belongs to a row that is there before.
    there = list(_folders(locations, stopping))
    known = _known(wanted.tracking)
    unknown = [folder for folder in there if folder.rpartition("/")[2] not in known]
    looked_at, orphans, young = 0, [], 0
    tasks = [Folder(Where(place, folder, True)) for folder in unknown]
    for folder, _ in together(tasks, measured, stopping):
        looked_at += folder.files
        told(looked_at)
        if folder.files and folder.newest < time.time() - DAY:
            orphans.append(folder)
        else:
            young += bool(folder.files)
    return Orphans(orphans, len(there) - len(unknown), young)


def refuse_a_majority(orphans: Orphans) -> None:
    """Raise AgentError where most of what is in the store is unknown: then it is likely that of another server."""
    if len(orphans.folders) > max(FEW, orphans.known):
        raise AgentError(
            f"{len(orphans.folders)} folders of runs, models and traces in the store are of none that this server "
            f"knows, and only {orphans.known} are of one: does another server keep its artifacts here?",
            "if none does, say so: --sole-user",
            "shared",
        )


def _folders(locations: Locations, stopping: Callable[[], bool]) -> Iterator[str]:
    """Whatever is called as MLflow calls folders of runs, models and traces below the number of an experiment."""
    place = locations.own
    experiments = [name for name in place.folders("") if _EXPERIMENT.fullmatch(name)]
    parents = [f"{experiment}/{kind}".rstrip("/") for experiment in experiments for kind in _NAMES]
    for parent, names in together(parents, place.folders, stopping):
        pattern = _NAMES[parent.partition("/")[2]]
        yield from (f"{parent}/{name}" for name in names if pattern.fullmatch(name))


def _known(tracking: str) -> set[str]:
    """The ids of all runs, models and traces, deleted or not, and every id that any location mentions."""
    known: set[str] = set()
    with opened(tracking) as database:
        for table, column in _KNOWN.items():
            if column in _columns(database, table):
                known.update(row[0] for row in database.execute(f"SELECT {column} FROM {table}"))  # noqa: S608
        for table, columns in _MENTIONED.items():
            there = _columns(database, table)
            for column in columns:
                if column in there:
                    for (text,) in database.execute(f"SELECT {column} FROM {table}"):  # noqa: S608 - names of ours
                        known.update(_IDS.findall(str(text or "")))
    return known


def _columns(database: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]


def _refuse_a_shared_place(wanted: Settings) -> None:
    """Other deployments of this host say in their records where they keep artifacts."""
    ours = wanted.place.destination.rstrip("/") + "/"
    for record in sorted(Path(wanted.root).glob("*/deployment.json")):
        try:
            applied = json.loads(record.read_text())
            theirs = str(applied.get("artifacts", "")).rstrip("/") + "/"
        except (OSError, ValueError, AttributeError):
            raise AgentError(
                f"where the deployment {record.parent.name} keeps its artifacts cannot be read in {record}",
                "without that it is not known whose folders these are: leave out --orphans",
                "shared",
            ) from None
        if record.parent.name != wanted.deployment and (ours.startswith(theirs) or theirs.startswith(ours)):
            raise AgentError(
                f"the deployment {record.parent.name} on this host keeps artifacts in {theirs[:-1]} too: what "
                "belongs to neither cannot be told from what belongs to the other",
                "leave out --orphans, or give each a place of its own: mlflow-provision move-artifacts",
                "shared",
            )
