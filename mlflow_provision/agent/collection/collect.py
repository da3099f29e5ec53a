"""The work itself: what was deleted is found, counted, and removed: artifacts first, and only then their rows.

So whatever stops it, nothing is lost sight of: the next run finds what is still marked, and goes on.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Callable

from mlflow_provision.agent.backup import state
from mlflow_provision.agent.collection import orphans as nobodys
from mlflow_provision.agent.collection import permissions, rows, survey, trash
from mlflow_provision.agent.collection.locations import Locations
from mlflow_provision.agent.collection.settings import Settings
from mlflow_provision.agent.collection.survey import Folder, Going
from mlflow_provision.agent.collection.tally import PAUSE, Tally, counted, files_in_words, items_in_words
from mlflow_provision.agent.names import GUARD, UPGRADING
from mlflow_provision.agent.protocol import OK, AgentError, Output, in_words, way_out
from mlflow_provision.agent.steps import Emit, one_at_a_time, step

Stopping = Callable[[], bool]
WHAT = "gc"
_MARKS = (
    (GUARD, "a restore", "if nobody is at it, go back: mlflow-provision restore --undo NAME"),
    (UPGRADING, "an upgrade", "if nobody is at it, go back: mlflow-provision rollback NAME"),
)
_GO_ON = "run the same command again: it goes on where it stopped"


class Collection:
    """One look at what may go, and what is done about it."""

    def __init__(self, wanted: Settings, before: float, emit: Emit, stopping: Stopping) -> None:
        self.wanted = wanted
        self.before = before  # seconds since 1970: what was deleted later stays
        self.emit = one_at_a_time(emit)
        self.stopping = stopping
        self.locations = Locations(wanted.place, stopping)
        self.trash = trash.Trash({}, [], 0)
        self.going: list[Going] = []
        self.orphans: nobodys.Orphans | None = None

    def look(self, with_orphans: bool, sole_user: bool) -> None:
        """Find it all and count it. Nothing is changed."""
        with step(self.emit, "deleted", f"What was deleted on {self.wanted.deployment}") as found:
            self.trash = trash.found(self.wanted.tracking, self.before)
            self.going = survey.located(self.trash, self.locations, self.wanted.tracking)
            totals = self.totals()
            found.verdict = OK
            found.summary = items_in_words(totals)
        with step(self.emit, "artifacts", f"Their artifacts in {self.locations.own.title}") as found:
            survey.count(self.going, self.trash, self.stopping, self._counting("artifacts"))
            self.going = [one for one in self.going if one.experiment.doomed or one.folders]
            totals = self.totals()
            found.verdict = OK
            found.summary = files_in_words(totals["files"], totals["bytes"])
        if with_orphans:
            with step(self.emit, "orphans", f"What belongs to nothing in {self.locations.own.title}") as found:
                self.orphans = nobodys.found(self.wanted, self.locations, self.stopping, self._counting("orphans"))
                if not sole_user:
                    nobodys.refuse_a_majority(self.orphans)
                found.verdict = OK
                found.summary = counted(len(self.orphans.folders), "folder")

    def totals(self) -> dict[str, int]:
        """How much goes, without the orphans."""
        each = [one.as_json() for one in self.going]
        sums = {key: sum(one[key] for one in each) for key in ("runs", "models", "traces", "files", "bytes")}
        return {"experiments": sum(one["whole"] for one in each), **sums}

    def report(self) -> dict[str, Any]:
        """What `gc --dry-run` tells."""
        return {
            "before": self.before,
            "place": self.locations.own.title,
            "experiments": [one.as_json() for one in self.going],
            "totals": self.totals(),
            "kept": [vars(one) for one in self.trash.kept],
            "young": self.trash.young,
            "orphans": self.orphans.as_json() if self.orphans else None,
            "versions": self.locations.own.keeps_versions(),
        }

    def remove(self) -> dict[str, Any]:
        """Remove what `look` has found. The answer tells what has gone, and what stays after all."""
        done = Tally(self.emit, self.totals(), self.orphans)
        try:
            with step(self.emit, "remove", f"Remove it from {self.wanted.deployment}") as removed:
                if self.going:
                    self._remove_all(done)
                if self.orphans:
                    self._remove_orphans(done)
                # What has changed is told once, by whoever writes the host's log: see `serve`.
                removed.verdict = OK
        except AgentError as error:
            raise AgentError(f"{error.message}; removed until then: {done.summary()}", error.hint, error.kind) from None
        return {
            "removed": done.as_json(),
            "summary": done.summary(),
            "kept": [vars(one) for one in self.trash.kept],
        }

    def _remove_all(self, done: Tally) -> None:
        tasks = [(going, folder) for going in self.going for folder in going.folders]
        left = {id(going): len(going.folders) for going in self.going}

        def work(task: tuple[Going, Folder]) -> str:
            return self._emptied(*task, done)

        with rows.Rows(self.wanted.release, self.wanted.tracking, self.stopping) as program:
            self.emit(Output("remove", "MLflow is being loaded"))
            program.wait()
            for going in self.going:
                if not going.folders:
                    self._finish(going, program, done)
            for (going, folder), problem in survey.together(tasks, work, self.stopping):
                if not problem and folder.item:
                    problem = self._row_gone(going, folder.item, program)
                if problem:
                    survey.keep(going, folder, problem, self.trash)
                else:
                    done.gone(folder)
                left[id(going)] -= 1
                if not left[id(going)]:
                    self._finish(going, program, done)

    def _finish(self, going: Going, program: rows.Rows, done: Tally) -> None:
        """After all that was in an experiment, itself: if it was deleted, and nothing in it stayed."""
        experiment = going.experiment
        if not experiment.doomed:
            return
        if not trash.still_deleted(self.wanted.tracking, experiment.id, None):
            self._keep(going, "was restored meanwhile")
            return
        # Before the row: as soon as that is gone, its number may be given to an experiment of somebody else.
        permissions.forget(self.wanted.users, experiment.id)
        try:
            said = program.remove(trash.EXPERIMENT, str(experiment.id))
        except AgentError as error:
            if error.kind != "row":
                raise
            self._keep(going, f"MLflow could not remove it: {error.message}")
            return
        if said in (rows.RESTORED, rows.USED):
            self._keep(going, "has runs again")
            return
        done.experiments += 1
        done.traces += experiment.traces

    def _keep(self, going: Going, why: str) -> None:
        one = going.experiment
        self.trash.kept.append(trash.Kept(trash.EXPERIMENT, str(one.id), one.name, why))

    def _emptied(self, going: Going, folder: Folder, done: Tally) -> str:
        """Remove the files of a folder. The answer is "", or why it stays."""
        alone = folder.item is not None and folder.item.alone
        if not (alone or going.experiment.doomed):
            return "its experiment stays"
        if not trash.still_deleted(self.wanted.tracking, going.experiment.id, folder.item):
            return "was restored meanwhile"
        try:
            folder.where.place.remove(folder.where.folder, done.files_gone, folder.wanted if folder.traces else None)
        except (AgentError, OSError) as error:
            if folder.where.own or (isinstance(error, AgentError) and error.kind == "interrupted"):
                raise
            return survey.problem(folder, error)
        return ""

    def _row_gone(self, going: Going, item: trash.Item, program: rows.Rows) -> str:
        try:
            said = program.remove(item.kind, item.id, "" if item.alone else str(going.experiment.id))
        except AgentError as error:
            if error.kind != "row":
                raise
            return f"MLflow could not remove it: {error.message}"
        return "was restored meanwhile, after its artifacts had gone" if said == rows.RESTORED else ""

    def _remove_orphans(self, done: Tally) -> None:
        assert self.orphans is not None  # noqa: S101 - asked for
        place = self.locations.own

        def work(folder: Folder) -> None:
            place.remove(folder.where.folder, done.files_gone)

        for _ in survey.together(self.orphans.folders, work, self.stopping):
            done.orphans += 1

    def _counting(self, name: str) -> Callable[[int], object]:
        last = 0.0

        def tell(files: int) -> None:
            nonlocal last
            if time.monotonic() - last > PAUSE:
                last = time.monotonic()
                self.emit(Output(name, f"{files:,} files so far"))

        return tell


def _refuse_between_two_databases(wanted: Settings) -> None:
    for mark, what, way in _MARKS:
        if os.path.exists(os.path.join(wanted.root, wanted.deployment, "backup", mark)):
            raise AgentError(f"{what} of {wanted.deployment} goes on, or was interrupted half-way", way)


def act(wanted: Settings, data: dict[str, Any], operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """The answer to a request: "look" or "collect". Raises AgentError."""
    action = data["action"]
    if action not in ("look", "collect"):
        raise AgentError(f"this agent has no action {action!r} for what was deleted")
    _refuse_between_two_databases(wanted)
    before = float(data.get("before") or time.time() - wanted.seconds)
    alone: AbstractContextManager[Any] = nullcontext()
    noted: AbstractContextManager[Any] = nullcontext()
    if action == "collect":
        alone = state.working(wanted.state, WHAT, operator)
        noted = state.noting(wanted.state, "collected", WHAT)
    try:
        with alone, noted:
            collection = Collection(wanted, before, emit, stopping)
            collection.look(bool(data.get("orphans")), bool(data.get("sole_user")))
            if action == "look":
                return collection.report()
            answer = {**collection.report(), **collection.remove()}
            state.succeeded(wanted.state, "collected", **answer["removed"])
            return answer
    except OSError as error:
        raise AgentError(in_words(error), way_out(error)) from None
    except AgentError as error:
        if error.kind == "interrupted" and action == "collect":
            raise AgentError(error.message, _GO_ON, error.kind) from None
        raise
