"""Backups in a bucket, in parts that travel while the next ones are made."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import Callable, Iterator, Sequence
from urllib.parse import urlsplit

from mlflow_provision.agent.backup.settings import Place
from mlflow_provision.agent.backup.stores.base import KIND, Entry, Missing, missing
from mlflow_provision.agent.backup.stores.notes import Notes
from mlflow_provision.agent.backup.stores.parts import Parts
from mlflow_provision.agent.http import Connections, NoAnswer
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3 import Bucket, Credentials, S3Error, verdict
from mlflow_provision.agent.s3.instance_role import METADATA_URL, NoInstanceRole, role_credentials
from mlflow_provision.agent.s3.multipart import Upload
from mlflow_provision.agent.s3.patience import Patience, once

SECTION = "backup"
_TIMEOUT = 60.0  # seconds of silence
_BROKEN = "look at the network between the host and the store, then run the same command again: nothing half is left"


def open_bucket(place: Place, deployment: str, state: str, stopping: Callable[[], bool]) -> S3Store:
    """The store of a deployment in a bucket, cleared of what killed runs left."""
    parts = urlsplit(place.destination)
    if not parts.netloc:
        raise AgentError(f"{place.destination} is not of the form s3://bucket/prefix", kind=KIND)
    role, keys = "", Credentials(place.access_key_id, place.secret_access_key, place.session_token)
    renew = None
    if not keys.access_key_id:
        url = place.metadata_url or METADATA_URL
        role, keys = _role(url)
        renew = lambda: role_credentials(url)[1]  # noqa: E731
    bucket = Bucket(
        parts.netloc,
        place.region,
        place.endpoint_url,
        keys,
        _TIMEOUT,
        renew,
        Patience(stopping=stopping),
        Connections(),
    )
    prefix = "/".join(part for part in (parts.path.strip("/"), deployment) if part) + "/"
    store = S3Store(bucket, prefix, role, Notes(os.path.join(state, "uploads") if state else ""))
    store.sweep()
    return store


def _role(url: str) -> tuple[str, Credentials]:
    try:
        return role_credentials(url)
    except NoInstanceRole as error:
        raise verdict.no_role(str(error), SECTION) from None


class S3Store:
    """`prefix` ends with a slash; `role` is the instance role whose keys are used, or ""."""

    def __init__(self, bucket: Bucket, prefix: str, role: str, notes: Notes) -> None:
        self.title = f"s3://{bucket.name}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = prefix
        self._role = role
        self._notes = notes

    @contextlib.contextmanager
    def put(self, key: str, expected: int = 0) -> Iterator[Parts]:
        parts = Parts(self._bucket, self._prefix + key, expected, self._notes, lambda: self._told("s3:PutObject"))
        try:
            yield parts
            parts.finish()
        except BaseException:
            parts.discard()
            raise

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
        here = {"bucket": self._bucket.name, "endpoint_url": self._bucket.endpoint_url}
        bucket = replace(self._bucket, patience=once())
        for note in self._notes.left():
            content = note.content
            if here.items() <= content.items():
                with contextlib.suppress(S3Error, NoAnswer):
                    Upload(bucket, content["key"], content["id"]).abort()
                    note.remove()
            if note.stale:
                note.remove()

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
            if not verdict.denied(error):
                raise verdict.refused(self._bucket.name, error, self._role, SECTION) from None
            lacking = [verdict.action_in(error) or action]
            raise verdict.incomplete(self.title, self._bucket.region, self._role, lacking, [], []) from None

    def _stop_if_asked(self) -> None:
        if self._bucket.patience.stopping():
            raise AgentError("interrupted", kind="interrupted") from None
