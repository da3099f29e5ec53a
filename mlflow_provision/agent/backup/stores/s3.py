"""Backups in a bucket, in parts that travel while the next ones are made."""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager
from typing import Callable, Iterator, Sequence
from urllib.parse import urlsplit

from mlflow_provision.agent.backup.settings import Place
from mlflow_provision.agent.backup.stores.base import KIND, Entry, Missing, missing
from mlflow_provision.agent.backup.stores.notes import Notes
from mlflow_provision.agent.backup.stores.parts import Parts, take_back, written
from mlflow_provision.agent.http import NoAnswer
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3 import Bucket, Credentials, S3Error, verdict
from mlflow_provision.agent.s3.access import opened, refusal

SECTION = "backup"
_BROKEN = "look at the network between the host and the store, then run the same command again: nothing half is left"


def open_bucket(place: Place, deployment: str, state: str, stopping: Callable[[], bool]) -> S3Store:
    """The store of a deployment in a bucket, cleared of what killed runs left."""
    parts = urlsplit(place.destination)
    if not parts.netloc:
        raise AgentError(f"{place.destination} is not of the form s3://bucket/prefix", kind=KIND)
    keys = Credentials(place.access_key_id, place.secret_access_key, place.session_token)
    own = keys if keys.access_key_id else None
    bucket, role = opened(parts.netloc, place.region, place.endpoint_url, own, place.metadata_url, SECTION, stopping)
    prefix = "/".join(part for part in (parts.path.strip("/"), deployment) if part) + "/"
    store = S3Store(bucket, prefix, role, Notes(os.path.join(state, "uploads") if state else ""))
    store.sweep()
    return store


class S3Store:
    """`prefix` ends with a slash; `role` is the instance role whose keys are used, or ""."""

    def __init__(self, bucket: Bucket, prefix: str, role: str, notes: Notes) -> None:
        self.title = f"s3://{bucket.name}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = prefix
        self._role = role
        self._notes = notes

    def put(self, key: str, expected: int = 0) -> AbstractContextManager[Parts]:
        where = self._prefix + key
        return written(self._bucket, where, expected, self._notes, lambda: self._told("s3:PutObject"))

    def get(self, key: str, sink: Callable[[bytes], object]) -> None:
        with self._told("s3:GetObject"):
            try:
                self._bucket.stream(self._prefix + key, sink)
            except S3Error as error:
                raise (self._missing(key, error) or error) from None

    def read(self, key: str) -> bytes:
        pieces: list[bytes] = []
        self.get(key, pieces.append)
        return b"".join(pieces)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        with self._told("s3:ListBucket"):
            for found in self._bucket.find(self._prefix + prefix):
                if not found.key.endswith("/"):  # what the console makes of an empty folder
                    yield Entry(found.key[len(self._prefix) :], found.size, found.modified)

    def delete(self, keys: Sequence[str]) -> None:
        with self._told("s3:DeleteObject"):
            for key in keys:
                self._bucket.delete(self._prefix + key)

    def sweep(self) -> None:
        """Take back the parts of uploads whose writers were killed. What cannot be taken back is tried again later."""
        take_back(self._notes, self._bucket)

    def _missing(self, key: str, error: S3Error) -> Missing | None:
        where = f"{self.title}/{key}"
        if error.code == "NoSuchKey":
            return missing(where)
        if not verdict.denied(error):
            return None
        # Who may list only under a prefix is told "denied" of an object that is not there.
        with contextlib.suppress(S3Error):
            if not any(found.key == self._prefix + key for found in self._bucket.find(self._prefix + key)):
                return missing(where)
        return None

    @contextlib.contextmanager
    def _told(self, action: str) -> Iterator[None]:
        """Errors of the store in words. `action` is what IAM calls that which we do."""
        try:
            yield
        except NoAnswer as error:
            self._stop_if_asked()
            told = verdict.unreachable(self.title, error, SECTION)
            if self._bucket.patience.heard:
                told.hint = _BROKEN
            raise told from None
        except S3Error as error:
            self._stop_if_asked()
            raise refusal(error, action, self.title, self._bucket, self._role, SECTION) from None

    def _stop_if_asked(self) -> None:
        if self._bucket.patience.stopping():
            raise AgentError("interrupted", kind="interrupted") from None
