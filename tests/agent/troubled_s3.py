"""An S3 in memory with uploads in parts and ranges, whose bad days a test decides: what goes wrong, and when."""

from __future__ import annotations

import contextlib
import hashlib
import html
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.agent.loopback import listening

REGION = "us-east-1"
PAGE = 3  # keys in one answer to a list


@dataclass(frozen=True)
class Asked:
    """A request: what it does, by the names of S3's API, and to which key."""

    operation: str
    key: str
    number: int  # of the part, or 0
    headers: dict[str, str]  # names in lower case


@dataclass(frozen=True)
class Refuse:
    """Answer with an error."""

    status: int
    code: str
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """Close the connection: "body" in the middle of what is sent to us, "before" we do it, "after" we have done it, or
    "answer" in the middle of what we send."""

    when: str


Trouble = Refuse | Cut | None


@dataclass
class TroubledS3:
    port: int = 0
    scheme: str = "http"
    region: str = REGION
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    seen: list[Asked] = field(default_factory=list)
    trouble: Callable[[Asked], Trouble] = lambda asked: None
    ranges: bool = True
    wants_md5: bool = False  # as a bucket whose objects are locked
    connections: int = 0
    busy: int = 0  # parts that are being received right now
    busiest: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def count(self, operation: str) -> int:
        return sum(asked.operation == operation for asked in self.seen)

    def answer(self, asked: Asked, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if f"/{self.region}/s3/" not in asked.headers["authorization"]:
            return 301, {"x-amz-bucket-region": self.region}, b"<Error><Code>PermanentRedirect</Code></Error>"
        if asked.headers["x-amz-content-sha256"] != hashlib.sha256(body).hexdigest():
            return failed(Refuse(400, "XAmzContentSHA256Mismatch"))
        if asked.operation == "UploadPart" and self.wants_md5 and "content-md5" not in asked.headers:
            words = "Content-MD5 HTTP header is required for Put Part requests with Object Lock parameters"
            return failed(Refuse(400, "InvalidRequest", words))
        with self.lock:
            return getattr(self, "_" + asked.operation)(asked, query, body)  # type: ignore[no-any-return]

    def _PutObject(self, asked: Asked, query: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.objects[asked.key] = body
        return 200, {}, b""

    def _GetObject(self, asked: Asked, query: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if asked.key not in self.objects:
            return failed(Refuse(404, "NoSuchKey"))
        content = self.objects[asked.key]
        tag = {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}
        if asked.headers.get("if-match", tag["ETag"]) != tag["ETag"]:
            return failed(Refuse(412, "PreconditionFailed"))
        wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        if wanted and self.ranges:
            return 206, tag, content[int(wanted[1]) :]
        return 200, tag, content

    def _ListObjectsV2(self, asked: Asked, query: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        after = query.get("continuation-token", "")
        keys = sorted(key for key in self.objects if key.startswith(query["prefix"]) and key > after)
        entry = "<Contents><Key>{}</Key><LastModified>2026-11-21T15:30:00.000Z</LastModified><Size>{}</Size></Contents>"
        text = "".join(entry.format(html.escape(key), len(self.objects[key])) for key in keys[:PAGE])
        if len(keys) > PAGE:
            text += f"<NextContinuationToken>{html.escape(keys[PAGE - 1])}</NextContinuationToken>"
        return 200, {}, f'<ListBucketResult xmlns="x">{text}</ListBucketResult>'.encode()

    def _DeleteObject(self, asked: Asked, query: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.objects.pop(asked.key, None)
        return 204, {}, b""

    def _CreateMultipartUpload(self, asked: Asked, query: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        id = f"upload/{len(self.seen)}&=<"
        self.uploads[id] = {}
        return 200, {}, f"<UploadId>{html.escape(id)}</UploadId>".encode()

    def _UploadPart(self, asked: Asked, query: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if query["uploadId"] not in self.uploads:
            return failed(Refuse(404, "NoSuchUpload"))
        self.uploads[query["uploadId"]][asked.number] = body
        return 200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b""

    def _CompleteMultipartUpload(self, asked: Asked, query: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        parts = self.uploads.get(query["uploadId"])
        if parts is None:
            return failed(Refuse(404, "NoSuchUpload"))
        said = re.findall(r"<PartNumber>(\d+)</PartNumber><ETag>(.*?)</ETag>", body.decode())
        right = [(number, f'"{hashlib.md5(part).hexdigest()}"') for number, part in sorted(parts.items())]
        if [(int(number), html.unescape(tag)) for number, tag in said] != right:
            return failed(Refuse(400, "InvalidPart"))
        self.objects[asked.key] = b"".join(parts[number] for number in sorted(parts))
        del self.uploads[query["uploadId"]]
        return 200, {}, b"<CompleteMultipartUploadResult/>"

    def _AbortMultipartUpload(self, asked: Asked, query: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        found = self.uploads.pop(query["uploadId"], None)
        return (204, {}, b"") if found is not None else failed(Refuse(404, "NoSuchUpload"))


def operation(method: str, query: dict[str, str]) -> str:
    if "uploads" in query:
        return "CreateMultipartUpload"
    if "uploadId" in query:
        return {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}[method]
    if "list-type" in query:
        return "ListObjectsV2"
    return {"PUT": "PutObject", "GET": "GetObject", "DELETE": "DeleteObject"}[method]


def failed(refuse: Refuse) -> tuple[int, dict[str, str], bytes]:
    text = f"<Error><Code>{refuse.code}</Code><Message>{refuse.message}</Message></Error>"
    return refuse.status, refuse.headers, text.encode()


@contextlib.contextmanager
def serve(fake: TroubledS3, tls: ssl.SSLContext | None = None) -> Iterator[TroubledS3]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 30

        def setup(self) -> None:
            super().setup()
            fake.connections += 1

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
            asked = Asked(operation(self.command, query), key, int(query.get("partNumber", 0)), headers)
            with fake.lock:
                fake.seen.append(asked)
                trouble = fake.trouble(asked) if bucket == "bucket" else Refuse(404, "NoSuchBucket")
            body = self._received(asked, int(headers.get("content-length", 0)), trouble)
            if trouble in (Cut("body"), Cut("before")):
                self._hang_up()
                return
            status, more, payload = failed(trouble) if isinstance(trouble, Refuse) else fake.answer(asked, query, body)
            if trouble == Cut("after"):
                self._hang_up()
                return
            self.send_response_only(status)
            for name, value in {**more, "Content-Length": str(len(payload))}.items():
                self.send_header(name, value)
            self.end_headers()
            if status != 204:
                self.wfile.write(payload[: len(payload) // 2] if trouble == Cut("answer") else payload)
            if trouble == Cut("answer"):
                self._hang_up()

        def _received(self, asked: Asked, length: int, trouble: Trouble) -> bytes:
            if trouble == Cut("body"):
                return self.rfile.read(length // 2)
            fake.busy += asked.operation == "UploadPart"
            fake.busiest = max(fake.busiest, fake.busy)
            body = self.rfile.read(length)
            fake.busy -= asked.operation == "UploadPart"
            return body

        def _hang_up(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_PUT = do_DELETE = do_POST = _serve

        def log_message(self, format: str, *args: Any) -> None:
            pass

    fake.scheme = "https" if tls else fake.scheme
    with listening(Handler, tls) as fake.port:
        yield fake
