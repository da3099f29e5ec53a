"""How much there is of what may go: listed in the store itself, several folders at a time."""

from __future__ import annotations

from concurrent.futures.thread import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Iterator, TypeVar

from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.collection.locations import Locations, NotOurs, Where
from mlflow_provision.agent.collection.trash import EXPERIMENT, MODEL, RUN, Experiment, Item, Kept, Trash, trace_ids
from mlflow_provision.agent.protocol import AgentError, in_words

THREADS = 8  # a store far away answers each after a while, and all of them after the same while
Answer = TypeVar("Answer")
Task = TypeVar("Task")


@dataclass(eq=False)
class Folder:
    """A folder that goes: of a run, of a model, of the traces of an experiment, or of nobody. Sizes are in bytes."""

    where: Where
    item: Item | None = None
    files: int = 0
    size: int = 0
    newest: float = 0.0
    traces: frozenset[str] = frozenset()  # if any: only what is of these

    def wanted(self, path: str) -> bool:
        return not self.traces or path.partition("/")[0] in self.traces


@dataclass
class Going:
    """All of an experiment that goes."""

    experiment: Experiment
    folders: list[Folder] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        kinds = [folder.item.kind for folder in self.folders if folder.item]
        return {
            "id": str(self.experiment.id),
            "name": self.experiment.name,
            "whole": self.experiment.doomed,
            "runs": kinds.count(RUN),
            "models": kinds.count(MODEL),
            "traces": self.experiment.traces if self.experiment.doomed else 0,
            "files": sum(folder.files for folder in self.folders),
            "bytes": sum(folder.size for folder in self.folders),
        }


def located(trash: Trash, locations: Locations, tracking: str) -> list[Going]:
    """Where the artifacts of all that goes are. What is elsewhere stays, and is told in `trash.kept`."""
    found = []
    for experiment in trash.experiments.values():
        going = Going(experiment)
        for item in experiment.items:
            try:
                going.folders.append(Folder(locations.of_item(item.uri, item.id), item))
            except NotOurs as why:
                trash.kept.append(Kept(item.kind, item.id, item.name, f"its artifacts are at {item.uri}, which {why}"))
                experiment.doomed = False
        if experiment.doomed and experiment.traces:
            try:
                where = locations.of_traces(experiment.uri)
                going.folders.append(Folder(where, traces=frozenset(trace_ids(tracking, experiment.id))))
            except NotOurs as why:
                place = f"the artifacts of its traces are at {experiment.uri}, which {why}"
                trash.kept.append(Kept(EXPERIMENT, str(experiment.id), experiment.name, place))
                experiment.doomed = False
        if not experiment.doomed:
            going.folders = [one for one in going.folders if one.item and one.item.alone]
        if experiment.doomed or going.folders:
            found.append(going)
    return found


def count(all_going: list[Going], trash: Trash, stopping: Callable[[], bool], told: Callable[[int], object]) -> None:
    """Fill in how many files there are, and how large. A place of others that cannot be listed keeps what is there."""
    tasks = [(going, folder) for going in all_going for folder in going.folders]
    files = 0

    def look(task: tuple[Going, Folder]) -> str:
        return measured(task[1])

    for (going, folder), problem in together(tasks, look, stopping):
        files += folder.files
        told(files)
        if problem:
            keep(going, folder, problem, trash)


def keep(going: Going, folder: Folder, why: str, trash: Trash) -> None:
    """It stays after all, and so does the experiment around it."""
    going.experiment.doomed = False
    going.folders = [one for one in going.folders if one is not folder and one.item and one.item.alone]
    item = folder.item
    named = (item.kind, item.id, item.name) if item else (EXPERIMENT, str(going.experiment.id), going.experiment.name)
    trash.kept.append(Kept(*named, why))


def measured(folder: Folder) -> str:
    """Count one folder. The answer is "", or why a place that is not the server's own cannot be listed."""
    folder.files = folder.size = 0
    try:
        for found in folder.where.place.files(folder.where.folder):
            if folder.wanted(found.path):
                folder.files += 1
                folder.size += found.size
                folder.newest = max(folder.newest, found.modified)
    except (AgentError, OSError) as error:
        if folder.where.own or (isinstance(error, AgentError) and error.kind == "interrupted"):
            raise
        return problem(folder, error)
    return ""


def problem(folder: Folder, error: Exception) -> str:
    """Why a folder stays, for people."""
    said = error.message if isinstance(error, AgentError) else in_words(error) if isinstance(error, OSError) else ""
    return f"its artifacts in {folder.where.place.title} cannot be reached: {said.splitlines()[0] if said else error}"


def together(
    tasks: Iterable[Task], work: Callable[[Task], Answer], stopping: Callable[[], bool]
) -> Iterator[tuple[Task, Answer]]:
    """Each task with its answer, in order, a few at work at once. Ends soon when somebody wants us to stop, or when
    whoever iterates has had enough."""
    queue = list(tasks)
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(queue), THREADS * 8):
            waiting = {pool.submit(work, task): task for task in queue[start : start + THREADS * 8]}
            try:
                for future, task in waiting.items():
                    raise_if(stopping)
                    yield task, future.result()
            finally:
                for future in waiting:
                    future.cancel()
