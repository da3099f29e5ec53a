"""Writes an object of a bucket: a small one at once, a large one in parts that are uploaded while the next are made."""

from __future__ import annotations

import contextlib
import queue
import threading
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Callable, Iterator

from mlflow_provision.agent.backup.stores.notes import Note, Notes
from mlflow_provision.agent.http import NoAnswer
from mlflow_provision.agent.s3 import Bucket, S3Error
from mlflow_provision.agent.s3.multipart import Upload, part_size
from mlflow_provision.agent.s3.patience import once

_THREADS = 2  # with the part that is being filled, and one that waits, four are in memory
_LOOK = 0.2  # seconds between two looks at whether an upload has failed
_ATTEMPTS_TO_ABORT = 2  # the next run tries again


class Parts:
    """`told` is a block in which errors of the store become words."""

    def __init__(
        self, bucket: Bucket, key: str, expected: int, notes: Notes, told: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._expected = expected
        self._notes = notes
        self._told = told
        self._pieces: list[bytes] = []
        self._room = part_size(expected)  # bytes until the part is full
        self._number = 1
        self._under_way: _UnderWay | None = None

    def write(self, data: bytes) -> None:
        while len(data) >= self._room:
            self._pieces.append(data[: self._room])
            data = data[self._room :]
            with self._told():
                self._send()
        if data:
            self._pieces.append(data)
            self._room -= len(data)

    def finish(self) -> None:
        """From now on the object exists."""
        with self._told():
            if self._under_way is None:
                self._bucket.put(self._key, b"".join(self._pieces))
                return
            if self._pieces:
                self._send()
            self._under_way.complete()

    def discard(self) -> None:
        """Leave nothing."""
        self._pieces = []
        if self._under_way:
            self._under_way.abort()

    def _send(self) -> None:
        if self._under_way is None:
            self._under_way = _UnderWay(self._bucket, self._key, self._notes)
        body = b"".join(self._pieces)
        self._pieces = []
        self._under_way.add(self._number, body)
        self._number += 1
        self._room = part_size(self._expected, self._number)


@contextlib.contextmanager
def written(
    bucket: Bucket, key: str, expected: int, notes: Notes, told: Callable[[], AbstractContextManager[None]]
) -> Iterator[Parts]:
    """The object is there when the block has ended, and nothing of it when the block fails."""
    parts = Parts(bucket, key, expected, notes, told)
    try:
        yield parts
        parts.finish()
    except BaseException:
        parts.discard()
        raise


class _UnderWay:
    """An upload and the threads that do it. The first failure ends it, and is raised by whatever is called next."""

    def __init__(self, bucket: Bucket, key: str, notes: Notes) -> None:
        begun = Upload.begin(bucket, key)
        self._note: Note | None = notes.take(bucket=bucket.name, endpoint_url=bucket.endpoint_url, key=key, id=begun.id)
        stopping = bucket.patience.stopping
        patience = replace(bucket.patience, stopping=lambda: self._failure is not None or stopping())
        self._bucket = bucket
        self._upload = replace(begun, bucket=replace(bucket, patience=patience))
        self._failure: BaseException | None = None
        self._parts: queue.Queue[tuple[int, bytes] | None] = queue.Queue(1)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(_THREADS)]
        for thread in self._threads:
            thread.start()

    def add(self, number: int, body: bytes) -> None:
        """Hand over a part; waits as long as all threads have one already."""
        while not self._failure:
            with contextlib.suppress(queue.Full):
                self._parts.put((number, body), timeout=_LOOK)
                return
        raise self._failure

    def complete(self) -> None:
        self._end()
        if self._failure:
            raise self._failure
        self._upload.complete()
        self._close(finished=True)

    def abort(self) -> None:
        self._failure = self._failure or InterruptedError()
        self._end()
        patience = replace(self._bucket.patience, attempts=_ATTEMPTS_TO_ABORT)
        finished = False
        with contextlib.suppress(S3Error, NoAnswer):
            Upload(replace(self._bucket, patience=patience), self._upload.key, self._upload.id).abort()
            finished = True
        self._close(finished)

    def _end(self) -> None:
        for thread in self._threads:
            if thread.is_alive():
                self._parts.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _close(self, finished: bool) -> None:
        if self._note and finished:
            self._note.remove()
        if self._note:
            self._note.close()
            self._note = None

    def _work(self) -> None:
        while part := self._parts.get():
            try:
                if not self._failure:
                    self._upload.part(*part)
            except BaseException as error:
                self._failure = self._failure or error
            del part  # before the next one arrives


def take_back(notes: Notes, bucket: Bucket) -> None:
    """End the uploads to a bucket whose writers were killed. What cannot be taken back now is tried again later."""
    here = {"bucket": bucket.name, "endpoint_url": bucket.endpoint_url}
    for note in notes.left():
        content = note.content
        if here.items() <= content.items():
            with contextlib.suppress(S3Error, NoAnswer):
                Upload(replace(bucket, patience=once()), content["key"], content["id"]).abort()
                note.remove()
        if note.stale:
            note.remove()
