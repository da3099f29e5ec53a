"""A store as a host meets it on a bad day: its clock is off, or its bucket is in another region than was said."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

from tests.lab import LabHost
from tests.lab.program import run

TOLERANCE = 900  # seconds that S3 forgives
_REGION = re.compile(r"Credential=[^/]+/\d+/([^/]+)/")
_OF_A_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Warp:
    """What is wrong with the store; the rest it does as ever."""

    skew: float = 0.0  # seconds that its clock is ahead
    region: str = ""  # where its buckets are
    asked: list[str] = field(default_factory=list)  # each request's method and path

    def refusal(self, authorization: str) -> str:
        """The error that S3 would answer with; "" when it does not mind."""
        signed = _REGION.search(authorization)
        if not signed:
            return ""
        if abs(self.skew) > TOLERANCE:
            return "<Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message>"
        if self.region and signed[1] != self.region:
            told = f"the region '{signed[1]}' is wrong; expecting '{self.region}'"
            return f"<Code>AuthorizationHeaderMalformed</Code><Message>{told}</Message><Region>{self.region}</Region>"
        return ""


@contextmanager
def warped(host: LabHost, endpoint: str) -> Iterator[Warp]:
    """Within the block whatever the host sends to the store comes to one that does not mean well."""
    warp, store = Warp(), urlsplit(endpoint)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _passed_on(self) -> None:
            warp.asked.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            refusal = warp.refusal(self.headers["Authorization"] or "")
            if refusal:
                status = 403 if "Skewed" in refusal else 400
                self._answer(status, {"Content-Type": "application/xml"}, f"<Error>{refusal}</Error>".encode())
                return
            connection = http.client.HTTPConnection(store.netloc, timeout=60)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            self._answer(response.status, dict(response.getheaders()), response.read())
            connection.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _passed_on

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in _OF_A_HOP:
                    self.send_header(name, value)
            self.send_header("Date", formatdate(time.time() + warp.skew, usegmt=True))
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((host.network.gateway, 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            with redirected(host, endpoint, "DNAT", "--to-destination", f"{host.network.gateway}:{server.server_port}"):
                yield warp
        finally:
            server.shutdown()


@contextmanager
def unreachable(host: LabHost, endpoint: str) -> Iterator[None]:
    """Within the block the store refuses every connection of the host."""
    with redirected(host, endpoint, "DNAT", "--to-destination", f"{host.network.gateway}:9"):
        yield


@contextmanager
def redirected(host: LabHost, endpoint: str, *target: str) -> Iterator[None]:
    """Connections that exist already are not."""
    store = urlsplit(endpoint)
    rule = ["OUTPUT", "-d", str(store.hostname), "-p", "tcp", "--dport", str(store.port), "-j", *target]
    iptables = ["ip", "netns", "exec", host.network.namespace, "iptables", "-w", "-t", "nat"]
    run([*iptables, "-A", *rule])
    try:
        yield
    finally:
        run([*iptables, "-D", *rule])
