"""A deployment with other values for some keys of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlflow_provision.config.deployment import Artifacts, Deployment


def changed(deployment: Deployment, keys: Mapping[str, Any]) -> Deployment:
    """`keys` are paths as in the file, `artifacts.region`; another place for artifacts drops what belonged to the old
    one."""
    if _is_folder(keys.get("artifacts.destination")):
        deployment = replace(deployment, artifacts=Artifacts())
    for path, value in keys.items():
        section, _, key = path.rpartition(".")
        if section:
            deployment = replace(deployment, **{section: replace(getattr(deployment, section), **{key: value})})
        else:
            deployment = replace(deployment, **{key: value})
    return deployment


def _is_folder(destination: str | None) -> bool:
    return destination is not None and "://" not in destination
