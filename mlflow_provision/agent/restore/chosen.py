"""Which backup is restored."""

from __future__ import annotations

from mlflow_provision.agent.backup import listing
from mlflow_provision.agent.backup.listing import Listed
from mlflow_provision.agent.backup.manifest import Manifest
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.restore.wanted import SAFETY


def chosen(store: Store, wanted: str) -> tuple[Listed, Manifest]:
    """The backup with this id, also when it can be restored in part only. For "", the newest that is whole and that no
    restore has made before it began: a restore that is repeated must not bring back what it was to replace."""
    found = listing.listed(store)
    if not wanted:
        whole = [backup for backup in found if not backup.problem]
        regular = [backup for backup in whole if not _safety(backup)]
        found = regular or whole or found
    manifest = listing.readable(store, found, wanted)
    return listing.chosen(store, found, wanted), manifest


def _safety(backup: Listed) -> bool:
    return bool(backup.manifest and backup.manifest.reason.startswith(SAFETY))
