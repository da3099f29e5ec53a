"""A deployment with other values for some keys of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlflow_provision.config.deployment import OF_A_BUCKET, OFF, OPERATOR, Artifacts, Backup, Deployment


def changed(deployment: Deployment, keys: Mapping[str, Any]) -> Deployment:
    """`keys` are paths as in the file, `artifacts.region`; another place for artifacts drops what belonged to the old
    one, and so does one for backups. Those on the operator's own machine have no schedule."""
    if _is_folder(keys.get("artifacts.destination")):
        deployment = replace(deployment, artifacts=Artifacts())
    if keys.get("backup.destination") == "":
        deployment = replace(deployment, backup=Backup())
    keys = {**_of_another_place(keys.get("backup.destination")), **keys}
    for path, value in keys.items():
        section, _, key = path.rpartition(".")
        if section:
            deployment = replace(deployment, **{section: replace(getattr(deployment, section), **{key: value})})
        else:
            deployment = replace(deployment, **{key: value})
    return deployment


def _of_another_place(backups: str | None) -> dict[str, Any]:
    """What follows from a place for backups that is no bucket."""
    if not backups or "://" in backups:
        return {}
    keys: dict[str, Any] = {f"backup.{key}": "" for key in OF_A_BUCKET} | {"backup.append_only": False}
    return keys | {"backup.schedule": OFF} if backups.startswith(OPERATOR) else keys


def _is_folder(destination: str | None) -> bool:
    return destination is not None and "://" not in destination
