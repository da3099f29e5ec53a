"""How far back a deployment can go: the last releases stay, with the databases they had; older ones go."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from mlflow_provision.agent.names import MARKER
from mlflow_provision.agent.resources.absent import remove
from mlflow_provision.agent.resources.record import load
from mlflow_provision.agent.resources.release import STAMP
from mlflow_provision.agent.upgrade import history


def forget(root: str, base: str, keep: int) -> list[str]:
    """Keep `keep` releases of a deployment: the one that runs and those it came from. Returns the names of the releases
    that went; one that another deployment runs on, or can go back to, stays. What cannot be removed is left."""
    entries = history.entries(base)
    ways_back = kept(entries, _running(base), keep)
    for entry in entries:
        if entry not in ways_back:
            with contextlib.suppress(OSError):
                history.remove(entry)
    for folder in history.leftovers(base):
        with contextlib.suppress(OSError):
            remove(Path(folder))
    return [name for name in _unused(root) if _removed(f"{root}/releases/{name}")]


def kept(entries: list[dict[str, Any]], running: str, keep: int) -> list[dict[str, Any]]:
    """The entries of the history, newest first, that lead back to the last `keep` releases. What a rollback put aside
    stays until the server is upgraded again."""
    releases = [running]
    found: list[dict[str, Any]] = []
    for entry in entries:
        if entry.get("action") == "rollback":
            if not any(one["action"] == "upgrade" for one in found) and not _has(found, "rollback"):
                found.append(entry)
        elif not entry.get("rolled_back"):
            release = str(entry["from"]["release"])
            if release not in releases:
                releases.append(release)
            if releases.index(release) < keep:
                found.append(entry)
    return found


def _has(entries: list[dict[str, Any]], action: str) -> bool:
    return any(entry["action"] == action for entry in entries)


def _running(base: str) -> str:
    try:
        return os.path.basename(os.readlink(f"{base}/venv"))
    except OSError:
        return ""


def _unused(root: str) -> list[str]:
    """Releases that no deployment runs on or can go back to."""
    releases = Path(root) / "releases"
    if not (Path(root) / MARKER).exists() or not releases.is_dir():
        return []
    used = {""}
    for link in Path(root).glob("*/venv"):
        base = str(link.parent)
        used |= {_running(base), str((load(f"{base}/deployment.json") or {}).get("release", ""))}
        used |= {str(entry["from"]["release"]) for entry in history.entries(base)}
    return sorted(one.name for one in releases.iterdir() if one.is_dir() and one.name not in used)


def _removed(release: str) -> bool:
    """Without its stamp it is no release, however far the rest came."""
    with contextlib.suppress(OSError):
        Path(release, STAMP).unlink(missing_ok=True)
        shutil.rmtree(release)
        return True
    return False
