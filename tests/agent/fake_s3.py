"""An S3 that knows one bucket and is told what to deny, where the bucket is, and what else is wrong."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.agent.loopback import listening

ACTIONS = {"PUT": "s3:PutObject", "GET": "s3:GetObject", "LIST": "s3:ListBucket", "DELETE": "s3:DeleteObject"}


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class FakeS3:
    port: int = 0
    region: str = "us-east-1"
    denied: set[str] = field(default_factory=set)
    names_actions: bool = False  # as AWS does in its messages
    lists_prefixes_only: bool = False  # the list is allowed under a condition on s3:prefix, which a get does not meet
    versioned: bool = False
    checks_md5: bool = True
    error: tuple[int, str] | None = None  # instead of every answer
    objects: dict[str, bytes] = field(default_factory=dict)
    put_at: str = "2026-01-01T00:00:00.000Z"
    history: dict[str, str] = field(default_factory=dict)  # version → key
    before: Callable[[str], None] = lambda method: None
    seen: list[str] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Answer:
        parts = urlsplit(target)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        operation = "LIST" if "list-type" in query else method
        self.seen.append(f"{operation} {key}")
        self.before(operation)
        if self.error:
            return self._failed(*self.error)
        if f"/{self.region}/s3/" not in headers["Authorization"]:
            return 301, {"x-amz-bucket-region": self.region}, b"<Error><Code>PermanentRedirect</Code></Error>"
        if operation in self.denied:
            return self._denied(operation)
        if bucket != "bucket":
            return self._failed(404, "NoSuchBucket")
        return getattr(self, "_" + operation.lower())(key, query, headers, body)  # type: ignore[no-any-return]

    def _put(self, key: str, query: Any, headers: Any, body: bytes) -> Answer:
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        if self.checks_md5 and headers["Content-MD5"] != md5:
            return self._failed(400, "BadDigest")
        self.objects[key] = body
        return 200, self._version(key), b""

    def _get(self, key: str, query: Any, headers: Any, body: bytes) -> Answer:
        if key in self.objects:
            return 200, {}, self.objects[key]
        hidden = self.lists_prefixes_only or "LIST" in self.denied
        return self._denied("LIST") if hidden else self._failed(404, "NoSuchKey")

    def _list(self, key: str, query: Any, headers: Any, body: bytes) -> Answer:
        entry = "<Contents><Key>{}</Key><LastModified>{}</LastModified></Contents>"
        names = [html.escape(name) for name in self.objects if name.startswith(query["prefix"])]
        return 200, {}, "".join(entry.format(name, self.put_at) for name in names).encode()

    def _delete(self, key: str, query: Any, headers: Any, body: bytes) -> Answer:
        if "versionId" in query:
            if "FORGET" in self.denied:
                return self._failed(403, "AccessDenied")
            self.history.pop(query["versionId"], None)
            return 204, {}, b""
        self.objects.pop(key, None)
        return 204, self._version(key), b""

    def _version(self, key: str) -> dict[str, str]:
        if not self.versioned:
            return {}
        version = f"v{len(self.seen)}"
        self.history[version] = key
        return {"x-amz-version-id": version}

    def _denied(self, operation: str) -> Answer:
        words = "User: arn:aws:iam::1:user/u is not authorized to perform: " + ACTIONS[operation]
        return self._failed(403, "AccessDenied", words if self.names_actions else "Access Denied")

    def _failed(self, status: int, code: str, message: str = "") -> Answer:
        date = {"Date": "Wed, 01 Jan 2020 00:00:00 GMT"}
        return status, date, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


@contextlib.contextmanager
def serve(fake: FakeS3) -> Iterator[FakeS3]:
    """Run it on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, payload = fake.answer(self.command, self.path, self.headers, body)
            self.send_response_only(status)
            for name, value in {**headers, "Content-Length": str(len(payload))}.items():
                self.send_header(name, value)
            self.end_headers()
            if status != 204:
                self.wfile.write(payload)

        do_GET = do_PUT = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with listening(Handler) as fake.port:
        yield fake
