"""What a request about an upgrade carries."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Union

from mlflow_provision.agent.backup.settings import Settings, settings
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Resource, from_json
from mlflow_provision.agent.resources.admin_user import AdminUser
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from mlflow_provision.agent.resources.systemd_service import SystemdService

Service = Union[SystemdService, BackgroundProcess]
_UNITS = "/etc/systemd/system"


@dataclass(frozen=True)
class Wanted:
    """All paths are absolute. `release`: the venv to change to, "" where none is asked for; `entry`: the id of what a
    rollback goes back to; `identity` opens an encrypted backup."""

    deployment: str
    root: str
    base: str
    data: str
    owner: str  # the service user; "" in user scope
    venv: str
    live: dict[str, str]  # database → where the server has it
    version: str = ""
    release: str = ""
    entry: str = ""
    config: str = ""  # of MLflow's users: basic_auth.ini
    keep: int = 2
    unit: str = ""  # "" in user scope
    units: str = _UNITS  # the folder of unit files
    service: dict[str, Any] = field(default_factory=dict)
    verify: dict[str, Any] = field(default_factory=dict, repr=False)
    audit: dict[str, Any] = field(default_factory=dict)
    install: tuple[Resource, ...] = field(default=(), repr=False)
    resources: tuple[Resource, ...] = field(default=(), repr=False)
    identity: str = field(default="", repr=False)
    settings: Union[Settings, None] = field(default=None, repr=False)

    @property
    def folder(self) -> str:
        """Root's: journal, history, and what makes a server go back before it starts."""
        return f"{self.base}/backup"

    @property
    def beside(self) -> str:
        """The service user's, on the disk of the databases: copies are migrated and checked here, and then renamed."""
        return f"{self.data}/.upgrade"

    @property
    def releases(self) -> str:
        return f"{self.root}/releases"

    @property
    def backups(self) -> Settings:
        if not self.settings:
            raise AgentError("this request about an upgrade says nothing of backups")
        return self.settings

    @property
    def administrator(self) -> Union[AdminUser, None]:
        """Whose password the operator knows."""
        return next((resource for resource in self.resources if isinstance(resource, AdminUser)), None)

    @property
    def current(self) -> str:
        """The venv that the server runs on."""
        return os.path.realpath(self.venv) if os.path.islink(self.venv) else ""


def wanted(data: dict[str, Any]) -> Wanted:
    """The request in this data."""
    names = ("deployment", "root", "base", "data", "owner", "venv", "live")
    more = ("entry", "config", "keep", "unit", "units", "service", "verify", "audit", "identity")
    to = data.get("to") or {}
    return Wanted(
        **{name: data[name] for name in names},
        **{name: data[name] for name in more if data.get(name)},
        version=to.get("version") or "",
        release=to.get("release") or "",
        install=tuple(from_json(item) for item in data.get("install") or ()),
        resources=tuple(from_json(item) for item in data.get("resources") or ()),
        settings=settings(data) if data.get("settings") else None,
    )


def service(data: dict[str, Any]) -> Service:
    """The server in a request, or in a journal."""
    found = from_json(data)
    if not isinstance(found, (BackgroundProcess, SystemdService)):
        raise AgentError(f"{found.title} is not a service")
    return found
