"""Artifacts in a bucket: read, written in parts, and copied by the store itself where it can."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator
from urllib.parse import quote

from mlflow_provision.agent.backup.stores.notes import Notes
from mlflow_provision.agent.backup.stores.parts import Parts, take_back, written
from mlflow_provision.agent.http import NoAnswer
from mlflow_provision.agent.moving.places import Entry
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3 import Bucket, Credentials, S3Error, verdict
from mlflow_provision.agent.s3.access import opened, refusal
from mlflow_provision.agent.s3.multipart import Upload
from mlflow_provision.agent.s3.probe import NAME as PROBE

SECTION = "artifacts"
_WHOLE = 1 << 30  # bytes that the store copies in one request; S3 allows five times as much
_COPIED_PART = 512 << 20


@dataclass(frozen=True)
class Access:
    """How buckets are reached: keys are "" where the host's instance role is meant."""

    region: str = ""
    endpoint_url: str = ""
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    metadata_url: str = ""

    def bucket(self, name: str, stopping: Callable[[], bool]) -> tuple[Bucket, str]:
        """The bucket of that name, and the role whose credentials are used, or ""."""
        keys = Credentials(self.access_key_id, self.secret_access_key, self.session_token)
        own = keys if keys.access_key_id else None
        return opened(name, self.region, self.endpoint_url, own, self.metadata_url, SECTION, stopping)


@dataclass(frozen=True)
class Objects:
    """The keys of a bucket below `prefix` ("" for all of them). `without`: a prefix whose keys are none of ours."""

    bucket: Bucket
    prefix: str
    role: str
    notes: Notes
    without: str = ""

    @property
    def title(self) -> str:
        return f"s3://{self.bucket.name}/{self.prefix}".rstrip("/")

    def find(self, stopping: Callable[[], bool], below: str = "") -> list[Entry]:
        start = self._key(below) + "/" if below or self.prefix else ""
        skip = len(self.prefix) + 1 if self.prefix else 0
        found = []
        with self._told("s3:ListBucket"):
            for one in self.bucket.find(start):
                if stopping():
                    raise AgentError("stopped while a bucket was listed", kind="interrupted")
                name = one.key[skip:]
                hidden = name.rpartition("/")[2].startswith(PROBE)
                if one.key.endswith("/") or hidden or (self.without and one.key.startswith(self.without + "/")):
                    continue
                found.append(Entry(name, one.size, f"{one.modified:.0f}"))
        return found

    def look(self, name: str) -> Entry | None:
        with self._told("s3:GetObject"):
            try:
                headers = self.bucket.call("HEAD", self._key(name)).headers
            except S3Error as error:
                # Who may not list is told "denied" of what is not there; a denied write tells more later.
                if error.status in (404, 403):
                    return None
                raise
        return Entry(name, int(headers.get("content-length") or 0), headers.get("etag", ""))

    def read(self, name: str, sink: Callable[[bytes], object]) -> None:
        with self._told("s3:GetObject"):
            self.bucket.stream(self._key(name), sink)

    def write(self, name: str, size: int) -> AbstractContextManager[Parts]:
        return written(self.bucket, self._key(name), size, self.notes, lambda: self._told("s3:PutObject"))

    def delete(self, name: str) -> None:
        with self._told("s3:DeleteObject"):
            self.bucket.delete(self._key(name))

    def sweep(self) -> None:
        """Take back the parts of uploads that killed runs left; what cannot be taken back now is tried again later."""
        take_back(self.notes, self.bucket)

    def take(self, source: Objects, entry: Entry, name: str) -> bool:
        """Let the store copy an object of another bucket of its own; False where it does not."""
        one, other = self.bucket, source.bucket
        if (one.endpoint_url, one.credentials) != (other.endpoint_url, other.credentials):
            return False
        origin = {"x-amz-copy-source": quote(f"/{other.name}/{source._key(entry.name)}", safe="/-_.~")}
        try:
            if entry.size <= _WHOLE:
                answer = one.call("PUT", self._key(name), headers=origin)
                return "<Error>" not in answer.text
            self._take_in_parts(origin, entry.size, name)
        except S3Error:
            return False  # reading and writing tell what is wrong, in the words for that
        except NoAnswer as error:
            raise verdict.unreachable(self.title, error, SECTION) from None
        return True

    def _take_in_parts(self, origin: dict[str, str], size: int, name: str) -> None:
        upload = Upload.begin(self.bucket, self._key(name))
        note = self.notes.take(
            bucket=self.bucket.name, endpoint_url=self.bucket.endpoint_url, key=self._key(name), id=upload.id
        )
        try:
            for number, start in enumerate(range(0, size, _COPIED_PART), 1):
                upload.copied_part(number, origin, start, min(start + _COPIED_PART, size))
            upload.complete()
        except BaseException:
            with contextlib.suppress(S3Error, NoAnswer):
                upload.abort()
            raise
        finally:
            if note:
                note.remove()
                note.close()

    def _key(self, name: str) -> str:
        return "/".join(part for part in (self.prefix, name) if part)

    @contextlib.contextmanager
    def _told(self, action: str) -> Iterator[None]:
        """Errors of the store in words. `action` is what IAM calls that which we do."""
        try:
            yield
        except NoAnswer as error:
            self._stop_if_asked()
            raise verdict.unreachable(self.title, error, SECTION) from None
        except S3Error as error:
            self._stop_if_asked()
            if error.code in ("NoSuchKey", "PreconditionFailed") and action == "s3:GetObject":
                raise AgentError(f"something in {self.title} was changed while it was read", kind="changed") from None
            raise refusal(error, action, self.title, self.bucket, self.role, SECTION) from None

    def _stop_if_asked(self) -> None:
        if self.bucket.patience.stopping():
            raise AgentError("interrupted", kind="interrupted") from None


class Buckets:
    """One connection to each bucket, however many places of it are asked for."""

    def __init__(self, access: Access, notes: str, stopping: Callable[[], bool]) -> None:
        self._access, self._notes, self._stopping = access, Notes(notes), stopping
        self._open: dict[str, tuple[Bucket, str]] = {}

    def objects(self, name: str, prefix: str, **more: Any) -> Objects:
        if name not in self._open:
            self._open[name] = self._access.bucket(name, self._stopping)
        return Objects(self._open[name][0], prefix, self._open[name][1], self._notes, **more)
