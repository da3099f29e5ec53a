"""What a host is asked by those who only watch: the data of the verbs `health`, `logs` and `audit`.

No facts are needed for it: the host itself expands a `~` at the beginning of a path.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.names import GUARD, UPGRADING
from mlflow_provision.agent.resources import to_json
from mlflow_provision.agent.resources.file import File
from mlflow_provision.blueprint.backup import status_request
from mlflow_provision.blueprint.questions import DEFAULT_ROOTS
from mlflow_provision.blueprint.reach import LOOPBACK_NAMES
from mlflow_provision.blueprint.resources import blueprint
from mlflow_provision.blueprint.service import server
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.layout import Layout


def health_request(deployment: Deployment) -> dict[str, Any]:
    """One deployment of a request of the verb `health`."""
    layout = _layout(deployment)
    folders = {"data": str(layout.data)}
    if "://" not in layout.artifacts:
        folders["artifacts"] = layout.artifacts
    if layout.backup_folder:
        folders["backups"] = layout.backup_folder
    return {
        "name": deployment.name,
        "root": str(layout.root),
        "record": str(layout.state),
        "notes": str(layout.notes),
        "service": to_json(server(layout)),
        "user": layout.user,
        "databases": {"tracking": str(layout.database), "auth": str(layout.auth_database)},
        "folders": folders,
        "backup": status_request(deployment, {"root": {"path": str(layout.root)}}),
        "guards": {"restore": str(layout.backup / GUARD), "upgrade": str(layout.backup / UPGRADING)},
        "lock": str(layout.lock),
        "index_url": deployment.mlflow.index_url,
        "names": [name for name in deployment.mlflow.allowed_hosts if name not in LOOPBACK_NAMES and "*" not in name],
    }


def logs_request(deployment: Deployment) -> dict[str, Any]:
    """Where the log of a server is: the `unit` whose journal it is, or a `file`. `secrets` are files whose values are
    masked in what is shown."""
    layout = _layout(deployment)
    return {
        "unit": layout.unit if layout.system else "",
        "file": "" if layout.system else str(layout.log),
        "record": str(layout.state),
        "secrets": [str(path) for path in (layout.secrets_env, layout.aws_credentials, layout.backup_job)],
    }


def audit_request(deployment: Deployment) -> dict[str, Any]:
    """Where the host's log of changes is."""
    return {"path": str(_layout(deployment).audit)}


def differences(deployment: Deployment, machine: dict[str, Any], applied: dict[str, Any], root: str) -> list[str]:
    """What a setup would change, as far as the host's record of the last one tells: words, and paths of files.

    `machine` and `root` are what `health` says of the host. Keys, folders and rights are not looked at: `plan` does.
    """
    facts = {"root": {"path": root}, "memory": machine["memory"], "cpus": machine["cpus"]}
    facts |= {"hostname": machine["hostname"], "addresses": machine["addresses"], "applied": applied}
    layout = Layout(deployment, PurePosixPath(root))
    wanted = {
        "mlflow_version": deployment.mlflow.version,
        "listen": deployment.mlflow.listen,
        "port": deployment.mlflow.port,
        "artifacts": layout.artifacts,
    }
    found = [f"{key} {applied[key]} → {value}" for key, value in wanted.items() if applied.get(key, value) != value]
    hashes = {
        file.path: hashlib.sha256(file.content.encode()).hexdigest()
        for file in blueprint(_without_secrets(deployment), Secrets(admin_password="-"), facts)  # noqa: S106
        if isinstance(file, File) and not file.secret_keys
    }
    # Of this one only the true deployment tells the content, and it needs no secret for it.
    hashes |= _copy_of_the_file(layout)
    recorded = applied.get("hashes") or {}
    return found + sorted(path for path in {*hashes, *recorded} if hashes.get(path) != recorded.get(path))


def _without_secrets(deployment: Deployment) -> Deployment:
    """The same files, made without a passphrase: none of those that are compared depends on it."""
    if deployment.backup.encryption != "passphrase":
        return deployment
    return replace(deployment, backup=replace(deployment.backup, encryption="recipient", recipient="-"))


def _copy_of_the_file(layout: Layout) -> dict[str, str]:
    from mlflow_provision.blueprint.schedule import deployment_file

    files = [resource for resource in deployment_file(layout) if isinstance(resource, File)]
    return {file.path: hashlib.sha256(file.content.encode()).hexdigest() for file in files}


def _layout(deployment: Deployment) -> Layout:
    return Layout(deployment, PurePosixPath(deployment.root or DEFAULT_ROOTS[deployment.scope]))
