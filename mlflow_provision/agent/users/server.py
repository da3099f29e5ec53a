"""The server whose users are meant, and what its MLflow can do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Callable

from mlflow_provision.agent.http import Client
from mlflow_provision.agent.release_version import mlflow_version

_CACHES = (3, 12)  # since then a password that was right is remembered for a minute, by each worker for itself
_ROLES = (3, 13)  # since then all permissions are those of roles, and users have one of their own


@dataclass(frozen=True)
class Server:
    """`username` is the administrator of the deployment; a `password` of "" is not known."""

    url: str
    username: str
    password: str = field(repr=False)
    workers: int
    service: dict[str, Any]  # the resource that runs it, as JSON
    admin: dict[str, Any] = field(repr=False)  # the resource of its administrator, as JSON
    venv: str
    database: str
    owner: str

    @property
    def client(self) -> Client:
        return self.login(self.username, self.password)

    def login(self, username: str, password: str) -> Client:
        return Client(self.url, username, password, timeout=30.0)

    @property
    def version(self) -> tuple[int, ...]:
        """The MLflow that is installed, (3, 17, 2)."""
        return tuple(int(part) for part in re.findall(r"\d+", mlflow_version(self.venv))[:3])

    @property
    def has_roles(self) -> bool:
        return self.version >= _ROLES

    @property
    def remembers_passwords(self) -> bool:
        """Would another worker go on letting in whom one of them has heard is out?"""
        return self.workers > 1 and self.caches

    @property
    def caches(self) -> bool:
        """Does a worker remember passwords that were right?"""
        return self.version >= _CACHES

    def restarted(self, stopping: Callable[[], bool]) -> bool:
        """Restart a server that runs; a stopped one stays stopped. Was it?"""
        if not self._service.status()["running"]:
            return False
        self.restart(stopping)
        return True

    def restart(self, stopping: Callable[[], bool]) -> None:
        """Also one that was stopped, or died."""
        self._service.restart(stopping)

    @property
    def _service(self) -> Any:
        from mlflow_provision.agent.resources import from_json

        return from_json(self.service)


def server(data: dict[str, Any]) -> Server:
    """The server in a request's data."""
    return Server(**data)
