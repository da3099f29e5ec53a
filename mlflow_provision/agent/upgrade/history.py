"""What earlier upgrades left: a folder for each in `<base>/backup/upgrades`, with the databases that were replaced."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.resources.base import Context
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.resources.file import replace
from mlflow_provision.agent.restore.aside import can_be_renamed

NOTE = "upgrade.json"
UPGRADE, ROLLBACK = "upgrade", "rollback"


def folder(base: str) -> str:
    return f"{base}/backup/upgrades"


def entries(base: str) -> list[dict[str, Any]]:
    """All of them, newest first. A `target` is one that a rollback may go back to."""
    found = [note for entry in _folders(base) if (note := _note(entry))]
    found.sort(key=lambda note: (note.get("at", 0.0), note["id"]), reverse=True)
    for note in found:
        note["target"] = note["action"] == UPGRADE and not note.get("rolled_back")
    return found


def leftovers(base: str) -> list[str]:
    """Folders of upgrades that went back: what their new server held in the meantime."""
    return [entry for entry in _folders(base) if not _note(entry)]


def remove(entry: dict[str, Any]) -> None:
    """Remove one, with the databases that it is about. The note goes last: a removal that was killed begins anew."""
    for path in (entry.get("old", ""), f"{entry['path']}/files", entry["path"]):
        if path and path != "/":
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)


def note(entry: str, data: dict[str, Any]) -> None:
    """Write down what an entry is."""
    replace(f"{entry}/{NOTE}", json.dumps(data, indent=1) + "\n", 0o600)


def mark_rolled_back(base: str, since: float, by: str) -> None:
    """Upgrades from a moment on are undone now: nobody goes back to before them again."""
    for found in entries(base):
        if found["target"] and found["at"] >= since:
            path = found.pop("path")
            found.pop("target")
            note(path, {**found, "rolled_back": by})


def make(base: str, data: str, beside: str, owner: str) -> tuple[str, str]:
    """A new folder, ours, and one for the databases, the service user's: in it, or on the disk where they are."""
    ours = (0o750, "root", owner) if owner else (0o700, "", "")
    Directory("upgrades", folder(base), *ours).apply(Context())
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = itertools.chain([stamp], (f"{stamp}-{number}" for number in itertools.count(2)))
    entry = next(path for name in names if not os.path.lexists(path := f"{folder(base)}/{name}"))
    Directory("entry", entry, *ours).apply(Context())
    Directory("files", f"{entry}/files", *ours).apply(Context())
    old = f"{entry}/databases"
    Directory("old", old, 0o700, owner, owner).apply(Context())
    if not as_user(owner, lambda: can_be_renamed(beside, old)):
        os.rmdir(old)
        old = f"{data}/before-upgrade-{os.path.basename(entry)}"
        as_user(owner, lambda: os.makedirs(old, mode=0o700, exist_ok=True))
    return entry, old


def _folders(base: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return [entry.path for entry in os.scandir(folder(base)) if entry.is_dir(follow_symlinks=False)]
    return []


def _note(entry: str) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        data = json.loads(Path(entry, NOTE).read_text("utf-8"))
        return {**data, "path": entry} if isinstance(data, dict) and data.get("id") else {}
    return {}
