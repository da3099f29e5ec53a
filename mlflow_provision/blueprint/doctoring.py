"""What the agent is asked when a deployment is examined: the data of the verb `doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.resources import to_json
from mlflow_provision.blueprint import reach
from mlflow_provision.blueprint.backup_settings import place
from mlflow_provision.blueprint.changing import changing
from mlflow_provision.blueprint.questions import verify_request
from mlflow_provision.blueprint.service import server
from mlflow_provision.config import DEFAULT_MLFLOW_VERSION, Deployment, Secrets
from mlflow_provision.layout import Layout


def doctor_request(
    deployment: Deployment, secrets: Secrets, facts: dict[str, Any], only: Sequence[str] = ()
) -> dict[str, Any]:
    """Every check, or `only` some, with those that they build on. Nothing is changed, so nothing is locked.

    The server's keys for its bucket are not sent: the host has them, and it is those that are to be tried.
    """
    layout = Layout(deployment, PurePosixPath(facts["root"]["path"]))
    return {
        "action": "look",
        "only": list(only),
        "name": deployment.name,
        "unit": layout.unit if layout.system else "",
        "user": layout.user,
        "service": to_json(server(layout)),
        "verify": verify_request(deployment, secrets, facts, "full", kill=False),
        "names": reach.outside_names(deployment, facts),
        **_folders(layout),
        "files": _files(layout),
        "databases": {path.name: str(path) for path in (layout.database, layout.auth_database)},
        "artifacts": {
            "destination": layout.artifacts,
            "credentials": deployment.artifacts.credentials,
            "profile": deployment.artifacts.profile,
        },
        "backup": _backup(layout, secrets),
        "newest": DEFAULT_MLFLOW_VERSION,
    }


def mend_request(
    deployment: Deployment, secrets: Secrets, facts: dict[str, Any], checks: Sequence[str]
) -> dict[str, Any]:
    """Put right on the host what these checks find: see `agent.doctor.MENDABLE`."""
    return {
        **doctor_request(deployment, secrets, facts),
        "action": "mend",
        "mend": list(checks),
        **changing(deployment, facts, f"doctor {deployment.name} --fix ({', '.join(checks)})"),
    }


def _folders(layout: Layout) -> dict[str, Any]:
    artifacts = [] if "://" in layout.artifacts else [layout.artifacts]
    inside = str(layout.data) + "/"
    return {
        "root": str(layout.root),
        "base": str(layout.base),
        "data": str(layout.data),
        "etc": str(layout.etc),
        "tmp": str(layout.temporary),
        "kept": str(layout.backup),
        "releases": str(layout.releases),
        "venv": str(layout.venv),
        "state": str(layout.state),
        "host_lock": str(layout.lock),
        # What the server writes, and must own.
        "written": [str(layout.data), *(path for path in artifacts if not path.startswith(inside))],
        "disks": [
            str(layout.data),
            *artifacts,
            str(layout.root),
            *([layout.backup_folder] if layout.backup_folder else []),
        ],
    }


def _files(layout: Layout) -> dict[str, str]:
    named = {
        "start_script": layout.start_script,
        "secrets_env": layout.secrets_env,
        "server_env": layout.server_env,
        "auth_config": layout.auth_config,
        "aws_credentials": layout.aws_credentials,
        "aws_config": layout.aws_config,
        "backup_job": layout.backup_job,
        "agent": layout.agent,
    }
    return {
        **{name: str(path) for name, path in named.items()},
        "unit_file": str(layout.unit_file) if layout.system else "",
        "log": "" if layout.system else str(layout.log),
    }


def _backup(layout: Layout, secrets: Secrets) -> dict[str, Any]:
    backup = layout.deployment.backup
    keys = backup.credentials or layout.deployment.artifacts.credentials
    return {
        "destination": backup.destination,
        "folder": layout.backup_folder,
        "with_operator": backup.with_operator,
        "scheduled": backup.scheduled,
        "schedule": backup.schedule,
        "verify": backup.verify,
        "append_only": backup.append_only,
        "has_keys": backup.on_s3 and keys in ("profile", "keys"),
        # Of use where no scheduled job on the host holds it.
        "place": asdict(place(layout.deployment, secrets)) if backup.destination else {},
        "state": str(layout.backup_state),
        "timer": layout.backup_units.timer if layout.system and backup.scheduled else "",
    }
