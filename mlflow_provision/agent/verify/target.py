"""The server that a verification is about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mlflow_provision.agent.http import Client


@dataclass(frozen=True)
class Target:
    """Where the server is and what should be true of it. `password` "" means that we do not know it."""

    url: str
    listen: str
    port: int
    username: str
    password: str = field(repr=False)
    hosts: tuple[str, ...]  # the names people reach it by, as their browsers send them: name:port
    origins: tuple[str, ...]  # the web pages that may write
    unit: str  # "" in user scope
    service: dict[str, Any] | None  # the resource that runs it, as JSON
    level: str  # "quick" reads only; "full" also writes, and cleans up
    kill: bool
    artifact_bytes: int
    tracking_database: str  # paths of SQLite files; "" where there are none
    auth_database: str
    user: str  # who owns the databases; "": we do
    guarded: bool  # False: an MLflow that cannot tell a foreign page from its own, and is not refused for that

    @property
    def client(self) -> Client:
        return Client(self.url, self.username, self.password)

    @property
    def netloc(self) -> str:
        return urlsplit(self.url).netloc


def target(data: dict[str, Any]) -> Target:
    """The target in a request's data."""
    databases = data.get("databases") or {}
    return Target(
        url=data["url"],
        listen=data["listen"],
        port=data["port"],
        username=data.get("username") or "",
        password=data.get("password") or "",
        hosts=tuple(data.get("hosts") or ()),
        origins=tuple(data.get("origins") or ()),
        unit=data.get("unit") or "",
        service=data.get("service"),
        level=data.get("level") or "full",
        kill=bool(data.get("kill")),
        artifact_bytes=data.get("artifact_bytes") or 4 << 20,
        tracking_database=databases.get("tracking") or "",
        auth_database=databases.get("auth") or "",
        user=data.get("user") or "",
        guarded=data.get("guarded", True),
    )
