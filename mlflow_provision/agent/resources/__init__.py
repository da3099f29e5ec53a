"""Everything that setup can put on a host, one module a kind. The blueprint builds these classes; the protocol carries
them as JSON. A kind's module is imported when it is needed: the agent is compiled anew on every request."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from typing import Any

from mlflow_provision.agent.resources.base import Change, Context, Resource

# Class name → module in this package.
KINDS = {
    "AdminUser": "admin_user",
    "AdoptedData": "adopted_data",
    "BackgroundProcess": "background_process",
    "Directory": "directory",
    "File": "file",
    "GeneratedSecrets": "generated_secrets",
    "InstalledAgent": "installed_agent",
    "OwnedTree": "owned_tree",
    "PathAbsent": "absent",
    "ProcessAbsent": "absent",
    "Record": "record",
    "Release": "release",
    "ServiceAbsent": "absent",
    "SharedAbsent": "absent",
    "SqliteDatabase": "sqlite_database",
    "StoreAccess": "store_access",
    "Symlink": "symlink",
    "SystemdService": "systemd_service",
    "Timer": "timer",
    "TimerAbsent": "timer",
    "User": "user",
    "UserAbsent": "absent",
    "Uv": "uv",
}

__all__ = ["KINDS", "Change", "Context", "Resource", "from_json", "to_json"]


def to_json(resource: Resource) -> dict[str, Any]:
    """A resource as JSON data."""
    return {"kind": type(resource).__name__, **asdict(resource)}  # type: ignore[call-overload]


def from_json(data: dict[str, Any]) -> Resource:
    """The resource in JSON data; lists become the tuples they were."""
    kind = data["kind"]
    fields = {name: _tuples(value) for name, value in data.items() if name != "kind"}
    resource: Resource = getattr(import_module(f"{__name__}.{KINDS[kind]}"), kind)(**fields)
    return resource


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
