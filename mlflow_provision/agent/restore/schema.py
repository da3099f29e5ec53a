"""Which schemas the release on this host knows, read from its migrations without importing MLflow."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from mlflow_provision.agent.adoption.options import mlflow_version
from mlflow_provision.agent.backup.manifest import Manifest
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.restore.wanted import TRACKING, USERS

_FOLDERS = {TRACKING: "store/db_migrations/versions", USERS: "server/auth/db/migrations/versions"}
_REVISION = re.compile(r"""^revision\b[^=\n]*=\s*["']([^"']+)""", re.MULTILINE)
_BEFORE = re.compile(r"^down_revision\b[^=\n]*=(.*)$", re.MULTILINE)
_QUOTED = re.compile(r"""["']([^"']+)""")


def known(release: str, database: str) -> tuple[set[str], set[str]]:
    """Every revision that a release can migrate from, and the newest ones of them (one, as long as nobody forked)."""
    revisions: set[str] = set()
    passed: set[str] = set()
    pattern = f"{glob.escape(release)}/lib/python*/site-packages/mlflow/{_FOLDERS[database]}/*.py"
    for path in glob.glob(pattern):
        text = Path(path).read_text("utf-8", "replace")
        revisions.update(_REVISION.findall(text))
        for before in _BEFORE.findall(text):
            passed.update(_QUOTED.findall(before))
    return revisions, revisions - passed


def outdated(release: str, schema: dict[str, str]) -> list[str]:
    """The databases with an older schema than the release wants: they are migrated before it uses them."""
    return [name for name in _FOLDERS if name in schema and schema[name] not in known(release, name)[1]]


def refuse_newer(release: str, manifest: Manifest, schema: dict[str, str]) -> None:
    """Raise AgentError of kind "newer" for a database that the release cannot know: MLflow migrates up only."""
    for name, revision in schema.items():
        revisions = known(release, name)[0] if name in _FOLDERS else set()
        if not revision or revision in revisions or (not revisions and not _later(manifest, release)):
            continue
        here = mlflow_version(release) or "the MLflow on this host"
        raise AgentError(
            f"backup {manifest.id} was made with MLflow {manifest.mlflow_version}; its {name} is newer than what "
            f"MLflow {here} on this host can use",
            "set up that version first, then restore: "
            f"mlflow-provision setup {manifest.deployment} --mlflow-version {manifest.mlflow_version}",
            "newer",
        )


def _later(manifest: Manifest, release: str) -> bool:
    return _numbers(manifest.mlflow_version) > _numbers(mlflow_version(release))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]
