"""Everything that setup can put on a host. The blueprint builds these classes; the protocol carries them as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mlflow_provision.agent.resources.absent import PathAbsent, ProcessAbsent, ServiceAbsent, SharedAbsent, UserAbsent
from mlflow_provision.agent.resources.admin_user import AdminUser
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from mlflow_provision.agent.resources.base import Change, Context, Resource
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.resources.generated_secrets import GeneratedSecrets
from mlflow_provision.agent.resources.record import Record
from mlflow_provision.agent.resources.release import Release
from mlflow_provision.agent.resources.sqlite_database import SqliteDatabase
from mlflow_provision.agent.resources.store_access import StoreAccess
from mlflow_provision.agent.resources.symlink import Symlink
from mlflow_provision.agent.resources.systemd_service import SystemdService
from mlflow_provision.agent.resources.user import User
from mlflow_provision.agent.resources.uv import Uv

KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        AdminUser,
        BackgroundProcess,
        Directory,
        File,
        GeneratedSecrets,
        PathAbsent,
        ProcessAbsent,
        Record,
        Release,
        ServiceAbsent,
        SharedAbsent,
        SqliteDatabase,
        StoreAccess,
        Symlink,
        SystemdService,
        User,
        UserAbsent,
        Uv,
    )
}

__all__ = [
    "KINDS",
    "AdminUser",
    "BackgroundProcess",
    "Change",
    "Context",
    "Directory",
    "File",
    "GeneratedSecrets",
    "PathAbsent",
    "ProcessAbsent",
    "Record",
    "Release",
    "Resource",
    "ServiceAbsent",
    "SharedAbsent",
    "SqliteDatabase",
    "StoreAccess",
    "Symlink",
    "SystemdService",
    "User",
    "UserAbsent",
    "Uv",
    "from_json",
    "to_json",
]


def to_json(resource: Resource) -> dict[str, Any]:
    """A resource as JSON data."""
    return {"kind": type(resource).__name__, **asdict(resource)}  # type: ignore[call-overload]


def from_json(data: dict[str, Any]) -> Resource:
    """The resource in JSON data; lists become the tuples they were."""
    fields = {name: _tuples(value) for name, value in data.items() if name != "kind"}
    resource: Resource = KINDS[data["kind"]](**fields)
    return resource


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
