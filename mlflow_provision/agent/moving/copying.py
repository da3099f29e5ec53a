"""Copies artifacts to where the server keeps them. They are read at both places, and must have one sha256."""

from __future__ import annotations

import hashlib
import queue
import threading
from dataclasses import dataclass
from typing import Callable

from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.moving.bucket import Objects
from mlflow_provision.agent.moving.manifest import Copied, Manifest
from mlflow_provision.agent.moving.places import Entry, Place
from mlflow_provision.agent.protocol import AgentError, in_words, way_out

KEPT = "what was copied is kept, and not copied again"  # where a move fails
_THREADS = 8
_LARGE = 8 << 20  # bytes; of larger ones few are in memory, in parts, at a time
_LARGE_AT_ONCE = 2
_LOOK = 0.2
_ATTEMPTS = 2  # at bytes that did not arrive as they were sent


@dataclass(frozen=True)
class Job:
    """An artifact that is to be at `to`, below the target."""

    source: Place
    entry: Entry
    to: str


@dataclass
class Outcome:
    """`changed` are those that somebody was writing to: a later pass takes them."""

    files: int = 0
    bytes: int = 0
    changed: int = 0


class Copying:
    """One pass over some jobs; what the manifest knows and what is still so is left alone."""

    def __init__(
        self, target: Place, manifest: Manifest, told: Callable[[int], object], stopping: Callable[[], bool]
    ) -> None:
        self._target, self._manifest, self._told, self._stopping = target, manifest, told, stopping
        self._large = threading.Semaphore(_LARGE_AT_ONCE)
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._outcome = Outcome()

    def run(self, jobs: list[Job]) -> Outcome:
        """Copy what is not there yet. Raises the first failure, after the threads have ended."""
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        threads = [
            threading.Thread(target=self._work, args=(waiting,), daemon=True) for _ in range(min(_THREADS, len(jobs)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_LOOK)
        if self._failure:
            raise self._failure
        raise_if(self._stopping)
        return self._outcome

    def over(self, job: Job) -> None:
        """Copy it over whatever is there."""
        self._transferred(job)

    def _work(self, waiting: queue.SimpleQueue[Job]) -> None:
        while not self._failure and not self._stopping():
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._one(job)
            except BaseException as error:
                self._failure = self._failure or _told(error, job)

    def _one(self, job: Job) -> None:
        if job.entry.size > _LARGE:
            with self._large:
                copied = self._copied(job)
        else:
            copied = self._copied(job)
        with self._lock:
            if copied is None:
                self._outcome.changed += 1
                return
            self._outcome.files += 1
            self._outcome.bytes += job.entry.size
            self._told(job.entry.size)

    def _copied(self, job: Job) -> Copied | None:
        known = self._manifest.get(job.to)
        there = self._target.look(job.to)
        origin = job.source.title
        now = (origin, job.entry.size, job.entry.mark)
        if known and there and (known.source, known.size, known.mark) == now and there.size == known.size:
            return known
        try:
            if there and not (known and known.source == origin):
                sha256 = self._same_already(job, there)
            else:
                sha256 = self._transferred(job)
        except AgentError as error:
            if error.kind == "changed":
                return None
            raise
        done = Copied(origin, job.entry.name, job.to, job.entry.size, job.entry.mark, sha256)
        self._manifest.add(done)
        return done

    def _same_already(self, job: Job, there: Entry) -> str:
        """Something is there that we do not know of: a run whose journal is lost, or somebody else's artifact."""
        sha256 = sha256_of(job.source, job.entry.name)
        if there.size != job.entry.size or sha256_of(self._target, job.to) != sha256:
            raise AgentError(
                f"{self._target.title}/{job.to} is there already, with other contents than "
                f"{job.source.title}/{job.entry.name}",
                "look at both, and move away the one that is not wanted",
                "conflict",
            )
        return sha256

    def _transferred(self, job: Job) -> str:
        for _ in range(_ATTEMPTS):
            sha256 = self._sent(job)
            raise_if(self._stopping)
            if sha256_of(self._target, job.to) == sha256:
                return sha256
        self._target.delete(job.to)
        raise AgentError(
            f"{job.to} does not arrive in {self._target.title} as it was sent from {job.source.title}",
            "look at the disk and the memory of the host: sudo dmesg | tail; then run the same command again",
            "checksum",
        )

    def _sent(self, job: Job) -> str:
        source, target = job.source, self._target
        if isinstance(source, Objects) and isinstance(target, Objects) and target.take(source, job.entry, job.to):
            return sha256_of(source, job.entry.name)
        digest = hashlib.sha256()
        passed = 0
        with target.write(job.to, job.entry.size) as writer:

            def piece(data: bytes) -> None:
                nonlocal passed
                raise_if(self._stopping)
                digest.update(data)
                passed += len(data)
                writer.write(data)

            source.read(job.entry.name, piece)
            if passed != job.entry.size:
                raise AgentError(f"{source.title}/{job.entry.name} was changed while it was read", kind="changed")
        return digest.hexdigest()


def sha256_of(place: Place, name: str) -> str:
    """The sha256 of an artifact, read from the first byte to the last."""
    digest = hashlib.sha256()
    place.read(name, digest.update)
    return digest.hexdigest()


def _told(error: BaseException, job: Job) -> BaseException:
    if isinstance(error, OSError):
        message = f"{job.source.title}/{job.entry.name} cannot be copied: {in_words(error)}"
        return AgentError(message, way_out(error))
    return error
