"""The instance metadata service of EC2, version 2 only, as one lab host sees it at 169.254.169.254."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.lab import Keys, LabHost
from tests.lab.program import run

ADDRESS = "169.254.169.254"
ROLES = "/latest/meta-data/iam/security-credentials/"


@dataclass
class Metadata:
    """What it knows, and who asked for credentials."""

    keys: Keys
    role: str = "tracking-server"
    session_token: str = field(default_factory=lambda: secrets.token_hex(16))
    asked_by: list[str] = field(default_factory=list)  # User-Agent of each request that was given credentials

    def credentials(self) -> str:
        expiration = (datetime.now(timezone.utc) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
        known = {"AccessKeyId": self.keys.key, "SecretAccessKey": self.keys.secret, "Token": self.session_token}
        return json.dumps({"Code": "Success", "Type": "AWS-HMAC", "Expiration": expiration, **known})


@contextmanager
def no_metadata(host: LabHost) -> Iterator[None]:
    """Within the block nothing answers, whatever this machine is itself."""
    rule = ["OUTPUT", "-d", ADDRESS, "-j", "REJECT"]
    run([*_iptables(host, "filter"), "-A", *rule])
    try:
        yield
    finally:
        run([*_iptables(host, "filter"), "-D", *rule])


@contextmanager
def instance_role(host: LabHost, keys: Keys) -> Iterator[Metadata]:
    """Within the block the host is an EC2 instance with a role that has these keys."""
    metadata = Metadata(keys)
    token = secrets.token_hex(16)

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            wanted = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
            self._answer(200, token) if wanted else self._answer(404, "")

        def do_GET(self) -> None:
            if self.headers["X-aws-ec2-metadata-token"] != token:
                self._answer(401, "")  # as with "IMDSv2 required"
            elif self.path == ROLES:
                self._answer(200, metadata.role)
            elif self.path == ROLES + metadata.role:
                metadata.asked_by.append(self.headers["User-Agent"] or "")
                self._answer(200, metadata.credentials())
            else:
                self._answer(404, "")

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((host.network.gateway, 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        here = f"{host.network.gateway}:{server.server_port}"
        rule = ["OUTPUT", "-d", ADDRESS, "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", here]
        run([*_iptables(host, "nat"), "-A", *rule])
        try:
            yield metadata
        finally:
            run([*_iptables(host, "nat"), "-D", *rule])
            server.shutdown()


def _iptables(host: LabHost, table: str) -> list[str]:
    """Of the host's own network: this machine may need the address itself."""
    return ["ip", "netns", "exec", host.network.namespace, "iptables", "-w", "-t", table]
