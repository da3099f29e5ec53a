"""The places where backups can be."""

from __future__ import annotations

import os
import pwd
import shlex
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
    folder = os.path.join(place.destination, deployment)
    _refuse_the_closed_folder_of_another(folder)
    store = FolderStore(folder)
    store.sweep()
    return store


def _refuse_the_closed_folder_of_another(folder: str) -> None:
    """A disk that comes from another host: there the service user had another number."""
    try:
        owner = os.stat(folder).st_uid
    except OSError:
        return  # not there yet, or what the store itself tells better
    if owner != os.geteuid() and not os.access(folder, os.R_OK | os.X_OK):
        theirs, ours = _name(owner), _name(os.geteuid())
        hint = f"hand it over with all that is in it: sudo chown -R {ours}: {shlex.quote(folder)}"
        raise AgentError(f"{folder} belongs to {theirs}, and {ours} may not look into it", hint, KIND)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
