"""What an upgrade or a rollback would do: read before a person says yes. Changes nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.databases import contents, schema, snapshot
from mlflow_provision.agent.release_version import mlflow_version
from mlflow_provision.agent.resources.release import STAMP
from mlflow_provision.agent.restore import current
from mlflow_provision.agent.upgrade import copies, history, lost
from mlflow_provision.agent.upgrade.journal import journal_in
from mlflow_provision.agent.upgrade.wanted import Wanted

REHEARSED = "rehearsed.json"  # beside the journal
_RELEASE = 1_300_000_000  # bytes of a release and what its download leaves, where there is none to measure


def look(wanted: Wanted) -> dict[str, Any]:
    """What runs, what it would become, what it takes, and what earlier upgrades left."""
    live = copies.there(wanted.live, wanted.owner)
    found = copies.revisions(live, wanted.owner)
    noted = journal_in(wanted.folder).read()
    installed = bool(wanted.release) and os.path.exists(f"{wanted.release}/{STAMP}")
    size = snapshot.needed(live.values())
    needs = {
        "copies": copies.room_needed(live),
        "backup": size if wanted.settings and wanted.settings.place.destination.startswith("/") else 0,
        "release": 0 if installed or not wanted.release else _bytes(wanted.current) or _RELEASE,
    }
    return {
        "version": mlflow_version(wanted.venv),
        "release": os.path.basename(wanted.current),
        "schema": found,
        "target": {"installed": installed, "schema": _heads(wanted.release) if installed else {}},
        "rows": as_user(wanted.owner, lambda: _rows(live)),
        "size": size,
        "disk_free": shutil.disk_usage(wanted.base).free,
        "disk_needed": sum(needs.values()),
        "needs": needs,
        "rehearsed": rehearsed(wanted),
        "unfinished": {name: noted.get(name) for name in ("action", "from", "to", "phase", "since")} if noted else None,
        "history": [_told(wanted, entry, live, found) for entry in history.entries(wanted.base)],
        "releases": _releases(wanted),
    }


def rehearsed(wanted: Wanted) -> dict[str, Any] | None:
    """What the last rehearsal of this very release found."""
    try:
        found = json.loads(Path(wanted.folder, REHEARSED).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if wanted.release and found.get("release") == os.path.basename(wanted.release) else None


def keeps_data(entry: dict[str, Any], found: dict[str, str]) -> dict[str, bool]:
    """Database → would today's one stay at a rollback? It fits the old release when its schema is still the old one."""
    before = entry["from"]["schema"]
    return {name: before.get(name) == revision for name, revision in found.items() if name in before}


def goes_back(entry: dict[str, Any], found: dict[str, str]) -> dict[str, str]:
    """The databases that a rollback brings back: name → where the old one is kept."""
    return {name: f"{entry['old']}/{name}" for name, stays in keeps_data(entry, found).items() if not stays}


def _told(wanted: Wanted, entry: dict[str, Any], live: dict[str, str], found: dict[str, str]) -> dict[str, Any]:
    old = goes_back(entry, found) if entry["target"] else {}
    there = as_user(wanted.owner, lambda: all(map(os.path.exists, old.values())))
    shown = ("id", "at", "action", "from", "to", "backup", "backup_place", "target", "rolled_back", "seconds_down")
    return {
        **{name: entry.get(name) for name in shown},
        "target": bool(entry["target"] and there),
        "size": _bytes(entry["old"]),
        "keeps_data": not old,
        "lost": lost.since(old, live, wanted.owner) if old and there else {},
        "installed": os.path.exists(f"{wanted.releases}/{entry['from']['release']}/{STAMP}"),
    }


def _heads(release: str) -> dict[str, str]:
    return {name: ",".join(sorted(schema.known(release, name)[1])) for name in schema.FOLDERS}


def _rows(live: dict[str, str]) -> dict[str, int]:
    import sqlite3

    found: dict[str, int] = {}
    for path in live.values():
        try:
            with current.reading(path) as connection:
                found.update(contents.counts(connection))
        except sqlite3.Error:
            continue
    return found


def _releases(wanted: Wanted) -> list[dict[str, Any]]:
    used: dict[str, list[str]] = {}
    for link in sorted(Path(wanted.root).glob("*/venv")):
        if link.is_symlink():
            used.setdefault(os.path.basename(os.readlink(link)), []).append(link.parent.name)
    kept: dict[str, list[str]] = {}
    for base in sorted(Path(wanted.root).glob("*/backup/upgrades")):
        for entry in history.entries(str(base.parent.parent)):
            kept.setdefault(entry["from"]["release"], []).append(entry["id"])
    names = sorted(path.parent.name for path in Path(wanted.releases).glob(f"*/{STAMP}"))
    return [
        {
            "name": name,
            "version": mlflow_version(f"{wanted.releases}/{name}"),
            "used_by": used.get(name, []),
            "kept_for": kept.get(name, []),
        }
        for name in names
    ]


def _bytes(folder: str) -> int:
    """On the disk, as `du` counts it."""
    total = 0
    for inside, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(inside, name)).st_blocks * 512
            except OSError:
                continue
    return total
