"""The four things the artifact store must let us do (put, get, list, delete), with the standard library."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Mapping
from urllib.parse import quote, urlsplit

from mlflow_provision.agent.http import Client, Response
from mlflow_provision.agent.s3.signature import Credentials, canonical_query, signed_headers

_TIMEOUT = 15.0


class S3Error(Exception):
    """What the store answered instead: an error code of S3's (`AccessDenied`, …), a message, the HTTP answer."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.code = _element(response.text, "Code") or f"HTTP {response.status}"
        self.message = _element(response.text, "Message")
        self.date = response.headers.get("date", "")
        super().__init__(f"{self.code}: {self.message}" if self.message else self.code)


@dataclass
class Bucket:
    """A bucket at AWS (`endpoint_url` empty) or at an S3-compatible store.

    `region` is what was asked for until the store says better: then the request is repeated there.
    """

    name: str
    region: str
    endpoint_url: str
    credentials: Credentials
    timeout: float = _TIMEOUT

    def put(self, key: str, body: bytes, md5: bytes | None = None) -> str:
        """Store an object; the answer is its version in a versioned bucket, else ""."""
        digest = base64.b64encode(md5 or hashlib.md5(body).digest()).decode()  # noqa: S324 - the store's own checksum
        headers = self._call("PUT", key, body=body, headers={"Content-MD5": digest}).headers
        return headers.get("x-amz-version-id", "")

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        return self._call("GET", key).body

    def list(self, prefix: str, limit: int = 100) -> dict[str, str]:
        """Keys that begin with `prefix`, and when they were put (ISO 8601, UTC)."""
        query = {"list-type": "2", "max-keys": str(limit), "prefix": prefix}
        text = self._call("GET", "", query=query).text
        entries = re.findall(r"<Contents>(.*?)</Contents>", text, re.DOTALL)
        return {_element(entry, "Key"): _element(entry, "LastModified") for entry in entries}

    def delete(self, key: str, version: str = "") -> str:
        """Remove an object, present or not; the answer is the version of its delete marker, if the bucket keeps one."""
        headers = self._call("DELETE", key, query={"versionId": version} if version else {}).headers
        return headers.get("x-amz-version-id", "")

    def _call(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        base = self._base()
        for _ in range(3):
            response = self._send(base, method, key, query or {}, body, headers or {})
            region = response.headers.get("x-amz-bucket-region") or _element(response.text, "Region")
            location = response.headers.get("location", "")
            if response.status < 300:
                return response
            if region and region != self.region:
                self.region = region
                base = self._base()
            elif response.status == 307 and location:  # a young bucket whose name is not everywhere in DNS yet
                base = "{0.scheme}://{0.netloc}".format(urlsplit(location)) + urlsplit(base).path
            else:
                break
        raise S3Error(response)

    def _send(
        self, base: str, method: str, key: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str]
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
        client = Client(f"{parts.scheme}://{parts.netloc}", timeout=self.timeout)
        return client.call(method, target, body=body if method == "PUT" else None, headers=sent)

    def _base(self) -> str:
        if self.endpoint_url:
            return f"{self.endpoint_url.rstrip('/')}/{quote(self.name, safe='')}"
        region = self.region or "us-east-1"
        host = f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
        # The certificate is for *.s3.…: it covers one label, so a name with dots goes into the path.
        if re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", self.name):
            return f"https://{self.name}.{host}"
        return f"https://{host}/{quote(self.name, safe='')}"


def _element(text: str, name: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return html.unescape(found.group(1)).strip() if found else ""
