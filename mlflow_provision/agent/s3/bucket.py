"""The objects of a bucket: put, get, list, delete, with the standard library."""

from __future__ import annotations

import base64
import calendar
import contextlib
import hashlib
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable, Iterator, Mapping
from urllib.parse import quote, urlsplit

from mlflow_provision.agent.http import Client, Connections, Response
from mlflow_provision.agent.s3.error import S3Error, element
from mlflow_provision.agent.s3.instance_role import NoInstanceRole
from mlflow_provision.agent.s3.patience import Patience, once
from mlflow_provision.agent.s3.signature import Credentials, canonical_query, signed_headers

_TIMEOUT = 15.0
_PAGE = 1000  # keys; no store gives more at once
_AHEAD = 300.0  # seconds before their end that credentials are renewed


@dataclass(frozen=True)
class Found:
    """An object in a list: its size in bytes, and when it was put (seconds since 1970)."""

    key: str
    size: int
    modified: float


@dataclass
class Bucket:
    """A bucket at AWS (`endpoint_url` empty) or at an S3-compatible store. Any number of threads may use it.

    `region` is what was asked for until the store says better: then the request is repeated there. `renew` gives fresh
    credentials, or raises NoInstanceRole; it is asked before those at hand expire.
    """

    name: str
    region: str
    endpoint_url: str
    credentials: Credentials
    timeout: float = _TIMEOUT
    renew: Callable[[], Credentials] | None = field(default=None, repr=False)
    patience: Patience = field(default_factory=once, repr=False)
    connections: Connections | None = field(default=None, repr=False)

    def put(self, key: str, body: bytes, md5: bytes | None = None) -> str:
        """Store an object; the answer is its version in a versioned bucket, else ""."""
        headers = self.call("PUT", key, body=body, headers=content_md5(body, md5)).headers
        return headers.get("x-amz-version-id", "")

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        return self.call("GET", key).body

    def stream(self, key: str, sink: Callable[[bytes], object]) -> None:
        """Hand on the bytes of an object piece by piece; after a lost connection it goes on where it was."""
        passed = skip = 0
        etag = ""

        def begin(status: int, headers: Mapping[str, str]) -> None:
            nonlocal etag, skip
            etag = headers.get("etag", "")
            skip = passed if status == 200 else 0  # a store that knows no ranges begins anew

        def go_on(piece: bytes) -> None:
            nonlocal passed, skip
            piece, skip = piece[skip:], max(0, skip - len(piece))
            try:
                sink(piece)
            except OSError as error:
                raise _Unwanted(error) from None
            passed += len(piece)

        def attempt() -> None:
            rest = {"Range": f"bytes={passed}-", "If-Match": etag} if passed else {}
            self._asked("GET", key, {}, b"", rest, sink=go_on, head=begin)

        try:
            self.patience.insist(attempt)
        except _Unwanted as unwanted:
            raise unwanted.error from None

    def list(self, prefix: str, limit: int = 100) -> dict[str, str]:
        """Keys that begin with `prefix`, and when they were put (ISO 8601, UTC)."""
        query = {"list-type": "2", "max-keys": str(limit), "prefix": prefix}
        text = self.call("GET", "", query=query).text
        return {element(entry, "Key"): element(entry, "LastModified") for entry in _contents(text)}

    def find(self, prefix: str) -> Iterator[Found]:
        """All objects whose key begins with `prefix`, however many there are."""
        query = {"list-type": "2", "max-keys": str(_PAGE), "prefix": prefix}
        while True:
            text = self.call("GET", "", query=query).text
            for entry in _contents(text):
                yield Found(element(entry, "Key"), int(element(entry, "Size") or 0), _seconds(entry))
            token = element(text, "NextContinuationToken")
            if not token or token == query.get("continuation-token"):
                return
            query["continuation-token"] = token

    def delete(self, key: str, version: str = "") -> str:
        """Remove an object, present or not; the answer is the version of its delete marker, if the bucket keeps one."""
        headers = self.call("DELETE", key, query={"versionId": version} if version else {}).headers
        return headers.get("x-amz-version-id", "")

    def call(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One request, as often as `patience` allows. Raises S3Error and NoAnswer."""
        return self.patience.insist(lambda: self._asked(method, key, query or {}, body, headers or {}))

    def _asked(
        self, method: str, key: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str], **sinks: Any
    ) -> Response:
        self._stay_valid()
        base = self._base()
        renewed = False
        for _ in range(3):
            response = self._send(base, method, key, query, body, headers, **sinks)
            # The answer to a POST may begin before the store knows how it ends.
            if response.status < 300 and not (method == "POST" and "<Error>" in response.text):
                return response
            error = S3Error(response)
            region = response.headers.get("x-amz-bucket-region") or element(response.text, "Region")
            location = response.headers.get("location", "")
            if region and region != self.region:
                self.region = region
                base = self._base()
            elif response.status == 307 and location:  # a young bucket whose name is not everywhere in DNS yet
                base = "{0.scheme}://{0.netloc}".format(urlsplit(location)) + urlsplit(base).path
            elif error.expired and self.renew and not renewed:
                renewed = True
                with contextlib.suppress(NoInstanceRole):
                    self.credentials = self.renew()
            else:
                break
        raise error

    def _stay_valid(self) -> None:
        expires = self.credentials.expires
        if self.renew and expires and time.time() > expires - _AHEAD:
            with contextlib.suppress(NoInstanceRole):  # those at hand may do for some minutes
                self.credentials = self.renew()

    def _send(
        self,
        base: str,
        method: str,
        key: str,
        query: Mapping[str, str],
        body: bytes,
        headers: Mapping[str, str],
        **sinks: Any,
    ) -> Response:
        parts = urlsplit(base)
        path = parts.path.rstrip("/") + "/" + quote(key, safe="/-_.~")
        sent = signed_headers(
            self.credentials,
            self.region or "us-east-1",
            datetime.now(timezone.utc),
            method,
            path,
            query,
            {"Host": parts.netloc, **headers},
            body,
        )
        target = path + ("?" + canonical_query(query) if query else "")
        client = Client(f"{parts.scheme}://{parts.netloc}", timeout=self.timeout, connections=self.connections)
        return client.call(method, target, body=body if method in ("PUT", "POST") else None, headers=sent, **sinks)

    def _base(self) -> str:
        if self.endpoint_url:
            return f"{self.endpoint_url.rstrip('/')}/{quote(self.name, safe='')}"
        region = self.region or "us-east-1"
        host = f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
        # The certificate is for *.s3.…: it covers one label, so a name with dots goes into the path.
        if re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", self.name):
            return f"https://{self.name}.{host}"
        return f"https://{host}/{quote(self.name, safe='')}"


class _Unwanted(Exception):
    """Whoever takes the bytes of an object could not: nothing that the store could do better next time."""

    def __init__(self, error: OSError) -> None:
        self.error = error


def content_md5(body: bytes, md5: bytes | None = None) -> dict[str, str]:
    """The header with the store's own checksum."""
    return {"Content-MD5": base64.b64encode(md5 or hashlib.md5(body).digest()).decode()}  # noqa: S324


def _contents(text: str) -> list[str]:
    return re.findall(r"<Contents>(.*?)</Contents>", text, re.DOTALL)


def _seconds(entry: str) -> float:
    try:
        return calendar.timegm(time.strptime(element(entry, "LastModified")[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0.0
