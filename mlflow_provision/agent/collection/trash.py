"""What was deleted on a server and is still there: runs, logged models, and whole experiments.

MLflow only marks these. Deleted for good is what was marked long enough ago, and what nobody needs any more: a run or
a model whose artifacts a registered model version is made of stays.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from dataclasses import dataclass, field, replace
from typing import Any, Iterator
from urllib.parse import quote

from mlflow_provision.agent.protocol import AgentError

RUN, MODEL, EXPERIMENT = "run", "model", "experiment"
DELETED = "deleted"
_BUSY = 20.0  # seconds to wait for a lock, as MLflow does
_IDS = re.compile(r"(?<![0-9a-z])(?:m-)?[0-9a-f]{32}(?![0-9a-z])")
_ARCHIVE = "mlflow.trace.archiveLocation"
_GONE_VERSION = "Deleted_Internal"  # how MLflow marks a model version that was deleted


@dataclass(frozen=True)
class Item:
    """A run or a logged model. `uri` is where its artifacts are; `alone`: it goes even if its experiment stays."""

    kind: str
    id: str
    experiment: int
    name: str
    uri: str
    alone: bool = True


@dataclass
class Kept:
    """What was deleted long enough ago and stays all the same."""

    kind: str
    id: str
    name: str
    why: str


@dataclass
class Experiment:
    """An experiment of which something goes; all of it does when it is `doomed` itself."""

    id: int
    name: str
    uri: str
    doomed: bool = False
    traces: int = 0
    items: list[Item] = field(default_factory=list)


@dataclass
class Trash:
    """By experiment, what may go now; what stays, and why; how many are not old enough yet."""

    experiments: dict[int, Experiment]
    kept: list[Kept]
    young: int


@dataclass(frozen=True)
class _Mark:
    """Something that may go: is it deleted itself, and since when (milliseconds since 1970)?"""

    item: Item
    deleted: bool
    since: int

    def old(self, before: int) -> bool:
        return self.deleted and self.since <= before


@contextlib.contextmanager
def opened(path: str) -> Iterator[sqlite3.Connection]:
    """A database that the server may be using."""
    # Not read-only: what a killed server left half-done is taken back first, as at its start.
    uri = f"file:{quote(path)}?mode=rw"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY, isolation_level=None)) as database:
            yield database
    except sqlite3.Error as error:
        raise AgentError(f"the database {path} cannot be used: {error}", "mlflow-provision doctor NAME") from None


def found(path: str, before: float) -> Trash:
    """All that was deleted before a moment (seconds since 1970) in the tracking database at `path`."""
    with opened(path) as database:
        return _found(database, int(before * 1000))


def still_deleted(path: str, experiment: int, item: Item | None) -> bool:
    """Is it still marked, or its experiment is, with which it goes? People restore what others are about to remove."""
    table, key, id = "experiments", "experiment_id", str(experiment)
    if item and item.alone:
        table, key = ("runs", "run_uuid") if item.kind == RUN else ("logged_models", "model_id")
        id = item.id
    with opened(path) as database:
        query = f"SELECT 1 FROM {table} WHERE {key} = ? AND lifecycle_stage = ?"  # noqa: S608 - names of ours
        return database.execute(query, (id, DELETED)).fetchone() is not None


def trace_ids(path: str, experiment: int) -> set[str]:
    """The traces of an experiment."""
    with opened(path) as database:
        if not _columns(database, "trace_info"):
            return set()
        query = "SELECT request_id FROM trace_info WHERE experiment_id = ?"
        return {row[0] for row in database.execute(query, (experiment,))}


def _found(database: sqlite3.Connection, before: int) -> Trash:
    experiments = {
        number: Experiment(number, name or "", uri or "")
        for number, name, uri in database.execute("SELECT experiment_id, name, artifact_location FROM experiments")
    }
    marked = [mark for mark in [*_runs(database), *_models(database)] if mark.item.experiment in experiments]
    used = _used(database)
    trash = Trash(experiments, [], sum(mark.deleted and mark.since > before for mark in marked))
    for mark in marked:
        if mark.item.id in used and mark.old(before):
            why = "version {1} of the registered model {0} is made of it: delete that version first"
            kept = Kept(mark.item.kind, mark.item.id, mark.item.name, why.format(*used[mark.item.id]))
            trash.kept.append(kept)
    _doom(database, trash, marked, used, before)
    for mark in marked:
        # What else is in a deleted experiment goes with it: nobody can open it any more.
        if mark.item.id not in used and (mark.old(before) or experiments[mark.item.experiment].doomed):
            experiments[mark.item.experiment].items.append(replace(mark.item, alone=mark.old(before)))
    trash.experiments = {number: one for number, one in experiments.items() if one.doomed or one.items}
    return trash


def _doom(
    database: sqlite3.Connection, trash: Trash, marked: list[_Mark], used: dict[str, tuple[str, Any]], before: int
) -> None:
    """Mark the experiments that go as a whole: deleted long enough ago, as was all that is in them."""
    query = "SELECT experiment_id, coalesce(last_update_time, 0) FROM experiments WHERE lifecycle_stage = ?"
    staying = {mark.item.experiment for mark in marked if mark.item.id in used}
    restored = {mark.item.experiment for mark in marked if mark.item.kind == RUN and not mark.deleted}
    young = {mark.item.experiment for mark in marked if mark.deleted and mark.since > before}
    for number, since in database.execute(query, (DELETED,)).fetchall():
        experiment = trash.experiments[number]
        if since > before:
            trash.young += 1
        elif number in restored:
            trash.kept.append(Kept(EXPERIMENT, str(number), experiment.name, "runs in it were restored"))
        elif place := _archive(database, experiment):
            why = f"traces of it are archived in {place}: delete them in MLflow first"
            trash.kept.append(Kept(EXPERIMENT, str(number), experiment.name, why))
        elif number not in staying | young:
            experiment.doomed = True
            experiment.traces = _traces(database, number)


def _archive(database: sqlite3.Connection, experiment: Experiment) -> str:
    """Where traces of an experiment are that are not beside its runs; "" where all are."""
    if not _columns(database, "trace_tags"):
        return ""
    query = (
        "SELECT t.value FROM trace_info i JOIN trace_tags t ON t.request_id = i.request_id AND t.key = ? "
        "WHERE i.experiment_id = ?"
    )
    below = f"{experiment.uri}/traces/"
    rows = database.execute(query, (_ARCHIVE, experiment.id))
    return next((str(place) for (place,) in rows if not str(place).startswith(below)), "")


def _runs(database: sqlite3.Connection) -> Iterator[_Mark]:
    """Each run of interest. Old MLflow did not note when one was deleted: then it counts since its end."""
    query = (
        "SELECT run_uuid, experiment_id, name, artifact_uri, lifecycle_stage, "
        "coalesce(deleted_time, end_time, start_time, 0) FROM runs WHERE lifecycle_stage = ? OR experiment_id IN "
        "(SELECT experiment_id FROM experiments WHERE lifecycle_stage = ?)"
    )
    for run, experiment, name, uri, stage, moment in database.execute(query, (DELETED, DELETED)):
        yield _Mark(Item(RUN, run, experiment, name or "", uri or ""), stage == DELETED, moment)


def _models(database: sqlite3.Connection) -> Iterator[_Mark]:
    if not _columns(database, "logged_models"):  # MLflow 2
        return
    query = (
        "SELECT model_id, experiment_id, name, artifact_location, lifecycle_stage, last_updated_timestamp_ms "
        "FROM logged_models WHERE lifecycle_stage = ? OR experiment_id IN "
        "(SELECT experiment_id FROM experiments WHERE lifecycle_stage = ?)"
    )
    for model, experiment, name, uri, stage, moment in database.execute(query, (DELETED, DELETED)):
        yield _Mark(Item(MODEL, model, experiment, name or "", uri or ""), stage == DELETED, moment or 0)


def _used(database: sqlite3.Connection) -> dict[str, tuple[str, Any]]:
    """The ids of runs and models in whose folders the artifacts of a registered model version are → which version."""
    there = _columns(database, "model_versions")
    named = [column for column in ("source", "storage_location") if column in there]
    if not named:
        return {}
    query = f"SELECT name, version, {', '.join(named)} FROM model_versions WHERE coalesce(current_stage, '') != ?"  # noqa: S608
    return {
        id: (row[0], row[1])
        for row in database.execute(query, (_GONE_VERSION,))
        for place in row[2:]
        for id in _IDS.findall(place or "")
    }


def _traces(database: sqlite3.Connection, experiment: int) -> int:
    if not _columns(database, "trace_info"):
        return 0
    query = "SELECT count(*) FROM trace_info WHERE experiment_id = ?"
    return int(database.execute(query, (experiment,)).fetchone()[0])


def _columns(database: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
