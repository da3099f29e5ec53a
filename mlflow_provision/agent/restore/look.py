"""What a restore would do: read before a person says yes. Changes nothing."""

from __future__ import annotations

import os
from typing import Any, Callable

from mlflow_provision.agent.adoption.options import mlflow_version
from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.backup.listing import shown
from mlflow_provision.agent.backup.stores import open_store
from mlflow_provision.agent.protocol import Event
from mlflow_provision.agent.restore import current, schema
from mlflow_provision.agent.restore.chosen import chosen
from mlflow_provision.agent.restore.journal import Journal
from mlflow_provision.agent.restore.wanted import USERS, Wanted


def look(wanted: Wanted, emit: Callable[[Event], None], stopping: Callable[[], bool]) -> dict[str, Any]:
    """The backup beside what is there now; `newer` is what would be lost, but for the safety backup."""
    noted = Journal(wanted.folder).read()
    backup: dict[str, Any] = as_user(wanted.owner, lambda: _backup(wanted, emit, stopping), stopping)
    since = backup["started"]
    seen = current.now(wanted)
    more = current.users(seen) - backup["rows"].get(USERS, {}).get("users", 0)
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
        "newer": {**current.newer(wanted, since), "users": max(0, more), "since": since},
        "replaces": [wanted.live[name] for name in names if os.path.lexists(wanted.live[name])],
        "keeps_users": USERS not in names,
        "migrates": bool(schema.outdated(wanted.release, backup["schema"])),
        "unfinished": {name: noted.get(name) for name in ("id", "phase", "since")} if noted else None,
    }


def _backup(wanted: Wanted, emit: Callable[[Event], None], stopping: Callable[[], bool]) -> dict[str, Any]:
    place = wanted.settings.place
    store = open_store(place, wanted.deployment, "", emit, stopping)
    found, manifest = chosen(store, wanted.id)
    schema.refuse_newer(wanted.release, manifest, manifest.schema)
    return shown(found)
