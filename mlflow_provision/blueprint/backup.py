"""What the agent is asked about backups: the settings of the verb `backup`, and the data of the verb `restore`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.resources import to_json
from mlflow_provision.blueprint import schedule
from mlflow_provision.blueprint.backup_settings import operator_folder, settings
from mlflow_provision.blueprint.changing import changing
from mlflow_provision.blueprint.questions import verify_request
from mlflow_provision.blueprint.resources import admin_user, release_path
from mlflow_provision.blueprint.service import server
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.layout import Layout

__all__ = [
    "crontab_line",
    "operator_folder",
    "restore_request",
    "settings_request",
    "status_request",
]


def settings_request(deployment: Deployment, secrets: Secrets, facts: dict[str, Any]) -> dict[str, Any]:
    """The `settings` of the verbs `backup` and `restore`. Raises ProvisionError where there is no place for backups."""
    if not deployment.backup.destination:
        raise ProvisionError(
            f"{deployment.name} has no place for backups",
            f"give it one: mlflow-provision setup {deployment.name} --backups s3://bucket/prefix "
            "(or a folder on the host, or operator:~/folder on this machine)",
            ExitCode.USAGE,
        )
    layout = _layout(deployment, facts)
    request = asdict(settings(layout, secrets))
    hashes = (facts["applied"] or {}).get("hashes") or {}
    if str(layout.deployment_file) not in hashes:  # set up by an older release of ours, which left none there
        request["source"]["files"].pop(layout.deployment_file.name)
    return request


def crontab_line(deployment: Deployment, facts: dict[str, Any]) -> str:
    """In user scope, where no systemd helps: the line that makes backups by schedule; "" where there is none."""
    return schedule.crontab_line(_layout(deployment, facts))


def status_request(deployment: Deployment, facts: dict[str, Any]) -> dict[str, str]:
    """What the verb `status` needs to tell how backups fare; {} where there are none."""
    layout = _layout(deployment, facts)
    if not deployment.backup.destination:
        return {}
    timer = layout.backup_units.timer if layout.system and deployment.backup.scheduled else ""
    return {"user": layout.user, "state": str(layout.backup_state), "timer": timer}


def _layout(deployment: Deployment, facts: dict[str, Any]) -> Layout:
    return Layout(deployment, PurePosixPath(facts["root"]["path"]))


def restore_request(
    deployment: Deployment,
    secrets: Secrets,
    facts: dict[str, Any],
    action: str,
    backup: str = "",
    identity: str = "",
    safety: bool = True,
    artifacts: bool = True,
) -> dict[str, Any]:
    """The data of the verb `restore`. `action`: "look", "restore" or "undo"; `backup`: an id, "" for the latest one."""
    layout = _layout(deployment, facts)
    return {
        "action": action,
        "settings": settings_request(deployment, secrets, facts),
        "id": backup,
        "identity": identity,
        **({} if action == "look" else changing(deployment, facts, f"restore {deployment.name}")),
        "release": str(release_path(layout)),
        "config": str(layout.auth_config),
        "service": to_json(server(layout)),
        "admin": to_json(admin_user(layout, secrets)),
        "verify": verify_request(deployment, secrets, facts, "full", kill=False),
        "secrets_env": str(layout.secrets_env),
        "base": str(layout.base),
        "data": str(layout.data),
        "owner": layout.user,
        "safety": safety,
        "artifacts": artifacts,
    }
