"""What a request to restore carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Union

from mlflow_provision.agent.backup.settings import Settings, settings
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import from_json
from mlflow_provision.agent.resources.admin_user import AdminUser
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from mlflow_provision.agent.resources.systemd_service import SystemdService

SAFETY = "before restoring "  # begins the reason of the backup that a restore makes first

Service = Union[SystemdService, BackgroundProcess]


@dataclass(frozen=True)
class Wanted:
    """`id` is "" for the newest backup; `identity` opens an encrypted one. All paths are absolute."""

    settings: Settings
    id: str
    identity: str = field(repr=False)
    base: str
    data: str
    owner: str  # the service user; "" in user scope
    release: str
    config: str
    secrets_env: str
    service: Service
    admin: AdminUser
    verify: dict[str, Any] = field(repr=False)
    safety: bool = True
    artifacts: bool = True

    @property
    def deployment(self) -> str:
        return self.settings.source.deployment

    @property
    def live(self) -> dict[str, str]:
        """Database → where the server has it."""
        return self.settings.source.databases

    @property
    def folder(self) -> str:
        """Root's: journal, guard, and the databases that were replaced."""
        return f"{self.base}/backup"

    @property
    def beside(self) -> str:
        """The service user's, on the disk of the databases: what is fetched is checked here, and then renamed."""
        return f"{self.data}/.restore"


def wanted(data: dict[str, Any]) -> Wanted:
    """The request in this data."""
    service, admin = from_json(data["service"]), from_json(data["admin"])
    if not isinstance(service, (BackgroundProcess, SystemdService)) or not isinstance(admin, AdminUser):
        raise AgentError("a restore needs the server and its administrator")
    names = ("base", "data", "owner", "release", "config", "secrets_env")
    return Wanted(
        settings=settings(data),
        id=data.get("id", ""),
        identity=data.get("identity", ""),
        service=service,
        admin=admin,
        verify=data["verify"],
        safety=data.get("safety", True),
        artifacts=data.get("artifacts", True),
        **{name: data[name] for name in names},
    )
