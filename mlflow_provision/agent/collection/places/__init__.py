"""The places where artifacts can be: a folder, or a bucket."""

from __future__ import annotations

from typing import Callable
from urllib.parse import urlsplit

from mlflow_provision.agent.collection.places.base import Place
from mlflow_provision.agent.collection.settings import Place as Wanted
from mlflow_provision.agent.protocol import AgentError


def open_place(wanted: Wanted, stopping: Callable[[], bool]) -> Place:
    """The server's own place."""
    if wanted.on_s3:
        parts = urlsplit(wanted.destination)
        return open_bucket(wanted, parts.netloc, parts.path.strip("/"), stopping)
    from mlflow_provision.agent.collection.places.folder import FolderPlace

    if not wanted.destination.startswith("/"):
        raise AgentError(f"the artifacts in {wanted.destination} cannot be removed from here")
    return FolderPlace(wanted.destination, stopping)


def open_bucket(wanted: Wanted, bucket: str, prefix: str, stopping: Callable[[], bool]) -> Place:
    """Any bucket that the server's keys may open."""
    from mlflow_provision.agent.collection.places.bucket import BucketPlace, connection

    return BucketPlace(*connection(wanted, bucket, stopping), prefix)
