"""What a restore would do: read before a person says yes. Changes nothing."""

from __future__ import annotations

import os
from typing import Any, Callable

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.backup.listing import shown
from mlflow_provision.agent.backup.stores import open_store
from mlflow_provision.agent.databases import USERS, schema
from mlflow_provision.agent.protocol import Event
from mlflow_provision.agent.release_version import mlflow_version
from mlflow_provision.agent.restore import current, newer
from mlflow_provision.agent.restore.chosen import chosen
from mlflow_provision.agent.restore.journal import journal_in
from mlflow_provision.agent.restore.wanted import Wanted


def look(wanted: Wanted, emit: Callable[[Event], None], stopping: Callable[[], bool]) -> dict[str, Any]:
    """The backup beside what is there now; `newer` is what would be lost, but for the safety backup."""
    noted = journal_in(wanted.folder).read()
    backup: dict[str, Any] = as_user(wanted.owner, lambda: _backup(wanted, emit, stopping), stopping)
    since = backup["started"]
    seen = current.now(wanted)
    names = [name for name in wanted.live if name in backup["schema"]]
    return {
        "backup": backup,
        "now": {
            "rows": {name: database["rows"] for name, database in seen.items()},
            "schema": {name: database["schema"] for name, database in seen.items()},
            "problems": {name: database["problem"] for name, database in seen.items() if database["problem"]},
            "mlflow_version": mlflow_version(wanted.release),
            "used": any(database["used"] for database in seen.values()),
        },
        "newer": {**_newer(current.newer(wanted, since), seen, backup["rows"]), "since": since},
        "replaces": [wanted.live[name] for name in names if os.path.lexists(wanted.live[name])],
        "keeps_users": USERS not in names,
        "migrates": bool(schema.outdated(wanted.release, backup["schema"])),
        "unfinished": {name: noted.get(name) for name in ("id", "phase", "since")} if noted else None,
    }


def _newer(begun: dict[str, int], seen: dict[str, dict[str, Any]], then: dict[str, dict[str, int]]) -> dict[str, int]:
    """Runs, experiments and users that are not in the backup. Clients say themselves when their runs began: how many
    more there are than then tells of those that are dated back."""
    now = {what: count for database in seen.values() for what, count in database["rows"].items()}
    held = {what: count for rows in then.values() for what, count in rows.items()}
    return {
        what: max(begun.get(what, 0), now.get(what, 0) - held.get(what, 0)) for what in ("runs", "experiments", "users")
    }


def _backup(wanted: Wanted, emit: Callable[[Event], None], stopping: Callable[[], bool]) -> dict[str, Any]:
    place = wanted.settings.place
    store = open_store(place, wanted.deployment, "", emit, stopping)
    found, manifest = chosen(store, wanted.id)
    newer.refuse_newer(wanted.release, manifest, manifest.schema)
    return shown(found)
