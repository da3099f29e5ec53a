"""A deployment with other values for some keys of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlflow_provision.config.deployment import OFF, OPERATOR, Artifacts, Deployment


def changed(deployment: Deployment, keys: Mapping[str, Any]) -> Deployment:
    """`keys` are paths as in the file, `artifacts.region`; another place for artifacts drops what belonged to the old
    one, and backups on the operator's own machine have no schedule."""
    if _is_folder(keys.get("artifacts.destination")):
        deployment = replace(deployment, artifacts=Artifacts())
    place = keys.get("backup.destination") or ""
    if place.startswith(OPERATOR) and "backup.schedule" not in keys:
        keys = {**keys, "backup.schedule": OFF}  # nothing there can be made without a person
    for path, value in keys.items():
        section, _, key = path.rpartition(".")
        if section:
            deployment = replace(deployment, **{section: replace(getattr(deployment, section), **{key: value})})
        else:
            deployment = replace(deployment, **{key: value})
    return deployment


def _is_folder(destination: str | None) -> bool:
    return destination is not None and "://" not in destination
