"""What there is to copy: every artifact of the units whose place is elsewhere, listed where it is."""

from __future__ import annotations

import queue
import shutil
import threading
from dataclasses import dataclass, field
from typing import Callable

from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.moving.copying import Job
from mlflow_provision.agent.moving.folder import LINK, Folder
from mlflow_provision.agent.moving.manifest import Manifest
from mlflow_provision.agent.moving.places import Entry, Place
from mlflow_provision.agent.moving.plan import Unit
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3.verdict import KIND as STORE
from mlflow_provision.agent.steps import amount

_THREADS = 8
_LOOK = 0.2
SPARE = 512 << 20  # bytes that stay free: the server writes to the same disk


@dataclass
class Listing:
    """`left`: why a unit cannot be copied → its place."""

    jobs: list[Job] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(job.entry.size for job in self.jobs)


def listed(units: list[Unit], of: Callable[[Unit], Place], stopping: Callable[[], bool]) -> Listing:
    """The artifacts of these units."""
    waiting: queue.SimpleQueue[Unit] = queue.SimpleQueue()
    for unit in units:
        waiting.put(unit)
    found = Listing()
    failures: list[BaseException] = []
    refused: dict[str, AgentError] = {}
    lock = threading.Lock()

    def work() -> None:
        while not failures and not stopping():
            try:
                unit = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                bucket = unit.source.bucket
                if bucket in refused:  # one answer is enough: with thousands of runs it would take hours
                    raise refused[bucket]
                place = of(unit)
                jobs = [Job(place, entry, f"{unit.to}/{entry.name}") for entry in place.find(stopping)]
            except AgentError as error:
                with lock:
                    if error.kind == LINK:
                        found.left.setdefault(error.message, []).append(unit.source.title)
                    elif error.kind == STORE and unit.source.bucket and not stopping():
                        refused[unit.source.bucket] = error
                        why = f"{error.message}; with other keys: --from-profile PROFILE"
                        found.left.setdefault(why, []).append(unit.source.title)
                    else:
                        failures.append(error)
                continue
            except BaseException as error:
                failures.append(error)
                return
            with lock:
                found.units.append(unit)
                found.jobs += jobs

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(_THREADS, len(units)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_LOOK)
    if failures:
        raise failures[0]
    raise_if(stopping)
    found.jobs.sort(key=lambda job: job.to)
    return found


def pending(jobs: list[Job], manifest: Manifest) -> list[Job]:
    """Those that an earlier pass has not copied as they are now."""
    return [job for job in jobs if not _known(job, manifest)]


def _known(job: Job, manifest: Manifest) -> bool:
    known = manifest.get(job.to)
    now = (job.source.title, job.entry.size, job.entry.mark)
    return known is not None and (known.source, known.size, known.mark) == now


def refuse_without_room(needed: int, target: Place) -> None:
    """Raise AgentError of kind "disk" unless so many bytes fit into a folder. A bucket has room."""
    if not isinstance(target, Folder) or not needed:
        return
    free = shutil.disk_usage(target.path).free
    if free < needed + SPARE:
        raise AgentError(
            f"not enough room on the host: {amount(needed)} are to be copied to {target.path}, and {amount(SPARE)} "
            f"stay free for the server; {amount(free)} are free",
            "free some space, or move the store first: mlflow-provision move-artifacts NAME --to s3://bucket/prefix",
            "disk",
        )


def of_store(source: Place, found: list[Entry]) -> list[Job]:
    """Every artifact of a store, which is to have the same name in another one."""
    return [Job(source, entry, entry.name) for entry in found]
