"""A backup of a newer MLflow than the host has: what it cannot use is refused."""

from __future__ import annotations

import re

from mlflow_provision.agent.backup.manifest import Manifest
from mlflow_provision.agent.databases.schema import FOLDERS, known
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.release_version import mlflow_version


def refuse_newer(release: str, manifest: Manifest, schema: dict[str, str]) -> None:
    """Raise AgentError of kind "newer" for a database that the release cannot know: MLflow migrates up only."""
    for name, revision in schema.items():
        revisions = known(release, name)[0] if name in FOLDERS else set()
        if not revision or revision in revisions or (not revisions and not _later(manifest, release)):
            continue
        here = mlflow_version(release) or "the MLflow on this host"
        raise AgentError(
            f"backup {manifest.id} was made with MLflow {manifest.mlflow_version}; its {name} is newer than what "
            f"MLflow {here} on this host can use",
            "upgrade to that version first, then restore: "
            f"mlflow-provision upgrade {manifest.deployment} --to {manifest.mlflow_version}",
            "newer",
        )


def _later(manifest: Manifest, release: str) -> bool:
    return _numbers(manifest.mlflow_version) > _numbers(mlflow_version(release))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]
