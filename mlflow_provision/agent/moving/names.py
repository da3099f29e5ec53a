"""Where artifacts are, by the names that a tracking database has for them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlflow_provision.agent.adoption.options import local_path
from mlflow_provision.agent.adoption.places import PROXIED

__all__ = ["PROXIED", "Spot", "inside", "proxied", "spot"]

_REFERENCES = ("models:", "runs:")  # to something that has a place of its own
_UNSAFE = re.compile(r"[%#?\\\x00-\x1f\x7f]")  # what an URL takes for something else than a name


@dataclass(frozen=True)
class Spot:
    """A place: keys that begin with `path` in a bucket, or a folder of this host (`bucket` is "")."""

    bucket: str
    path: str

    @property
    def title(self) -> str:
        return f"s3://{self.bucket}/{self.path}".rstrip("/") if self.bucket else self.path

    def below(self, relative: str) -> Spot:
        return Spot(self.bucket, "/".join(part for part in (self.path.rstrip("/"), relative) if part))


def spot(uri: str) -> Spot | None:
    """The place that a URI means; None where it is neither in a bucket of S3 nor an absolute path."""
    if uri.startswith("s3://"):
        bucket, _, key = uri[len("s3://") :].partition("/")
        return Spot(bucket, key.strip("/")) if bucket else None
    if uri.startswith("file:") and urlsplit(uri).netloc not in ("", "localhost"):
        return None
    path = local_path(uri, "")
    return Spot("", path) if os.path.isabs(path) else None


def has_place(uri: str) -> bool:
    """Does it name a place that is not under the proxy yet?"""
    ours = uri.startswith(PROXIED) and not uri.startswith(f"{PROXIED}/")  # which goes on with the name of a server
    return bool(uri) and not ours and not uri.startswith(_REFERENCES)


def inside(inner: Spot, outer: Spot) -> str | None:
    """The path of one place below another: "" when they are the same, None when it is elsewhere."""
    if inner.bucket != outer.bucket:
        return None
    if not outer.path or inner.path == outer.path:
        return inner.path[len(outer.path) :]
    top = outer.path.rstrip("/") + "/"
    return inner.path[len(top) :] if inner.path.startswith(top) else None


def proxied(relative: str) -> str | None:
    """The name of a place below the server's artifacts; None where the proxy would not find it again."""
    parts = relative.split("/") if relative else []
    if _UNSAFE.search(relative) or not all(parts) or {".", ".."} & set(parts):
        return None
    return PROXIED + relative
