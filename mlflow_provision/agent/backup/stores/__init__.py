"""The places where backups can be."""

from __future__ import annotations

import os
from typing import Callable

from mlflow_provision.agent.backup.settings import Place
from mlflow_provision.agent.backup.stores.base import KIND, Store
from mlflow_provision.agent.protocol import AgentError, Event

OPERATOR = "operator:"


def open_store(
    place: Place,
    deployment: str,
    state: str,
    emit: Callable[[Event], None],
    stopping: Callable[[], bool] = lambda: False,
) -> Store:
    """The store of a deployment in a place, cleared of what a killed run left unfinished there.

    `state` is a folder of ours, where such things are noted ("": nowhere). Waiting for a troubled store ends when
    `stopping` says so.
    """
    if place.destination.startswith("s3://"):
        from mlflow_provision.agent.backup.stores.s3 import open_bucket

        return open_bucket(place, deployment, state, stopping)
    if place.destination.startswith(OPERATOR):
        from mlflow_provision.agent.backup.stores.operator import OperatorStore

        return OperatorStore(place.destination[len(OPERATOR) :], deployment, emit)
    from mlflow_provision.agent.backup.stores.folder import FolderStore

    if not os.path.isabs(place.destination):
        hint = "correct [backup] destination: s3://bucket/prefix, operator:/folder or /folder"
        raise AgentError(f"{place.destination} is no place for backups", hint, KIND)
    store = FolderStore(os.path.join(place.destination, deployment))
    store.sweep()
    return store
