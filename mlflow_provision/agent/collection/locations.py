"""From the URIs in MLflow's database to folders in places that we can reach, and no others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable
from urllib.parse import urlsplit

from mlflow_provision.agent.collection.places import open_bucket, open_place
from mlflow_provision.agent.collection.places.base import Place
from mlflow_provision.agent.collection.settings import Place as Wish
from mlflow_provision.agent.protocol import AgentError

ARTIFACTS = "artifacts"  # the last part of every location
TRACES = "traces"
_STRANGE = re.compile(r"[%?#\\\x00-\x1f]")  # encoded by some and not by others: whose folder it is would be a guess


class NotOurs(Exception):
    """Why something is left alone, in words that go on after "its artifacts are at …"."""


@dataclass(frozen=True)
class Where:
    """A folder in a place."""

    place: Place
    folder: str
    own: bool  # the place is the server's own


class Locations:
    """The places that one server's artifacts are in: its own, and those of experiments from other times."""

    def __init__(self, wish: Wish, stopping: Callable[[], bool]) -> None:
        self.own = open_place(wish, stopping)
        self._wish = wish
        self._stopping = stopping
        self._buckets: dict[str, Place] = {}

    def of_item(self, uri: str, name: str) -> Where:
        """The folder of a run or model, from the URI of its artifacts. Raises NotOurs."""
        folders = self._path(uri).split("/")
        if folders[-1] != ARTIFACTS or folders[-2:-1] != [name]:
            raise NotOurs("does not end in its own name: others may share the folder")
        return self._where(uri, 1)

    def of_traces(self, uri: str) -> Where:
        """The folder of all traces of an experiment, from the URI of its artifacts. Raises NotOurs."""
        where = self._where(uri, 0)
        return Where(where.place, f"{where.folder}/{TRACES}" if where.folder else TRACES, where.own)

    def _path(self, uri: str) -> str:
        path = uri.partition(":")[2] if ":" in uri.partition("/")[0] else uri
        if path.startswith("//"):
            path = path[2:].partition("/")[2]
        parts = path.strip("/").split("/")
        if _STRANGE.search(uri) or {"", ".", ".."} & set(parts):
            raise NotOurs("is no plain path")
        return "/".join(parts)

    def _where(self, uri: str, up: int) -> Where:
        """The folder that is `up` above the one a URI names."""
        path = self._path(uri)
        above = "/".join(path.split("/")[: len(path.split("/")) - up])
        scheme, netloc = urlsplit(uri).scheme, urlsplit(uri).netloc
        if scheme == "mlflow-artifacts":
            return Where(self.own, above, True)
        if scheme == "s3":
            return self._in_bucket(netloc, above)
        if (scheme == "file" and netloc in ("", "localhost")) or (not scheme and uri.startswith("/")):
            return self._local(f"/{above}")
        raise NotOurs("is none that we can reach from this host")

    def _in_bucket(self, bucket: str, folder: str) -> Where:
        if not self._wish.on_s3:
            raise NotOurs("is in a bucket, for which this server has no keys")
        parts = urlsplit(self._wish.destination)
        inside = _below(folder, parts.path.strip("/"))
        if bucket == parts.netloc and inside is not None:
            return Where(self.own, inside, True)
        if bucket not in self._buckets:
            try:
                self._buckets[bucket] = open_bucket(self._wish, bucket, "", self._stopping)
            except AgentError as error:
                raise NotOurs(f"cannot be reached: {error.message}") from None
        return Where(self._buckets[bucket], folder, False)

    def _local(self, path: str) -> Where:
        from mlflow_provision.agent.collection.places.folder import FolderPlace

        if not self._wish.on_s3:
            inside = _below(path.strip("/"), self._wish.destination.strip("/"))
            if inside is not None:
                return Where(self.own, inside, True)
        elsewhere = FolderPlace("/", self._stopping)
        if not elsewhere.reachable(path.strip("/")):
            raise NotOurs("is no folder that the server's user can see on this host")
        return Where(elsewhere, path.strip("/"), False)


def _below(folder: str, top: str) -> str | None:
    """The path within `top`, or None. Never `top` itself."""
    if not top:
        return folder
    return folder[len(top) + 1 :] if folder.startswith(f"{top}/") else None
