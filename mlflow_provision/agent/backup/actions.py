"""What requests about backups ask for, done as the service user."""

from __future__ import annotations

from typing import Any, Callable

from mlflow_provision.agent.backup import state
from mlflow_provision.agent.backup.aside import aside
from mlflow_provision.agent.backup.codec import Key
from mlflow_provision.agent.backup.download import download
from mlflow_provision.agent.backup.listing import chosen, listed, readable, shown
from mlflow_provision.agent.backup.make import make
from mlflow_provision.agent.backup.manifest import Manifest
from mlflow_provision.agent.backup.prune import prune
from mlflow_provision.agent.backup.settings import Place, Settings
from mlflow_provision.agent.backup.stores import open_store
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.backup.verification import verify
from mlflow_provision.agent.protocol import AgentError, in_words, way_out
from mlflow_provision.agent.steps import Emit, one_at_a_time

Stopping = Callable[[], bool]
Action = Callable[[Settings, "dict[str, Any]", str, Emit, Stopping], "dict[str, Any]"]


def act(wanted: Settings, data: dict[str, Any], operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """The answer to one request. Raises AgentError."""
    action = _ACTIONS.get(data["action"])
    if not action:
        raise AgentError(f"this agent has no action {data['action']!r} for backups")
    try:
        return action(wanted, data, operator, one_at_a_time(emit), stopping)
    except OSError as error:
        raise AgentError(in_words(error), way_out(error)) from None


def _make(wanted: Settings, data: dict[str, Any], operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    with state.working(wanted.state, "backup", operator):
        made = make(wanted, data["reason"], data["artifacts"], emit, stopping, operator)
        if not data["verify"]:
            return made
        id = made["backup"]["id"]
        try:
            _verify(wanted, {**data, "id": id}, operator, emit, stopping)
        except AgentError as error:
            if error.kind == "interrupted":
                raise AgentError(f"stopped on request; the backup {id} is complete", error.hint, error.kind) from None
            raise
        store = _store(wanted, emit, stopping)
        return {"backup": shown(chosen(store, listed(store), id))}


def _list(wanted: Settings, data: dict[str, Any], operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    store = _store(wanted, emit, stopping)
    return {"backups": [shown(backup) for backup in aside(lambda: listed(store), stopping)]}


def _verify(wanted: Settings, data: dict[str, Any], operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    what = f"backup verify {data['id']}".rstrip()
    with state.working(wanted.state, what, operator), state.noting(wanted.state, "verified", what):
        store = _store(wanted, emit, stopping)
        manifest = _manifest(store, data["id"], stopping)
        key = Key(data["identity"], wanted.encryption.python)
        return verify(wanted, store, manifest, key, emit, stopping, operator)


def _prune(wanted: Settings, data: dict[str, Any], operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    with state.working(wanted.state, "backup prune", operator), state.noting(wanted.state, "pruned", "backup prune"):
        answer = prune(wanted, _store(wanted, emit, stopping), data["dry_run"], emit, stopping)
        if not data["dry_run"]:
            state.succeeded(wanted.state, "pruned", removed=answer["removed"])
        return answer


def _download(wanted: Settings, data: dict[str, Any], operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    # Without the lock: over a slow line it may take hours, and a backup must not wait for that.

    store = _store(wanted, emit, stopping)
    manifest = _manifest(store, data["id"], stopping)
    deployment = wanted.source.deployment
    to = aside(lambda: open_store(Place(**data["to"]), deployment, wanted.state, emit, stopping), stopping)
    return download(store, manifest, to, emit, stopping)


def _store(wanted: Settings, emit: Emit, stopping: Stopping) -> Store:
    return aside(lambda: open_store(wanted.place, wanted.source.deployment, wanted.state, emit, stopping), stopping)


def _manifest(store: Store, id: str, stopping: Stopping) -> Manifest:
    return readable(store, aside(lambda: listed(store), stopping), id)


_ACTIONS: dict[str, Action] = {
    "make": _make,
    "list": _list,
    "verify": _verify,
    "prune": _prune,
    "download": _download,
}
