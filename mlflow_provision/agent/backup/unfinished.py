"""What a backup that came to no end has left in the store, and its removal."""

from __future__ import annotations

import contextlib

from mlflow_provision.agent.backup import state, transfer
from mlflow_provision.agent.backup.manifest import NAME
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.protocol import AgentError


def give_up(store: Store, folder: str) -> None:
    """Remove what this process has put, as it cannot finish. What cannot be removed is left to the next run."""
    left = state.unfinished(folder)
    if not left or transfer.at_work():
        return
    with contextlib.suppress(AgentError):
        # The manifest first: it may have arrived although its acknowledgement did not.
        store.delete([f"{left['id']}/{NAME}", *left["objects"]])
        state.end(folder)


def take_back(store: Store, folder: str) -> str:
    """Remove what a killed run has left; returns the id of its backup, "" when there was nothing to remove.

    A backup whose manifest is there was killed after its end: it stays. What may not be deleted stays too, without a
    manifest, and is for `prune` to remove.
    """
    left = state.unfinished(folder)
    id = left.get("id", "")
    removed = ""
    if id and left.get("place") == store.title:
        complete = any(entry.key == f"{id}/{NAME}" for entry in store.list(f"{id}/"))
        if not complete and left["objects"]:
            with contextlib.suppress(AgentError):
                store.delete(left["objects"])
                removed = id
    state.end(folder)
    return removed
