"""AWS Signature Version 4 for S3."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from typing import Mapping
from urllib.parse import quote


@dataclass(frozen=True)
class Credentials:
    """An access key; the session token is empty for a long-lived one, which never `expires` (seconds since 1970)."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    expires: float = 0.0


def signed_headers(
    credentials: Credentials,
    region: str,
    now: datetime,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
) -> dict[str, str]:
    """The headers to send: `headers` (Host among them) and what the signature adds. `path` is quoted already."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    sent = {**headers, "X-Amz-Date": stamp, "X-Amz-Content-SHA256": digest}
    if credentials.session_token:
        sent["X-Amz-Security-Token"] = credentials.session_token
    lowered = sorted((name.lower(), " ".join(value.split())) for name, value in sent.items())
    names = ";".join(name for name, _ in lowered)
    canonical = "\n".join(
        [method, path, canonical_query(query), *(f"{name}:{value}" for name, value in lowered), "", names, digest]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + credentials.secret_access_key).encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    sent["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    )
    return sent


def canonical_query(query: Mapping[str, str]) -> str:
    """A query string as AWS wants it signed; it is sent in the same form."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)
