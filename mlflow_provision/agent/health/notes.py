"""What `status` remembers on the host from one time to the next: free room on the disks, and the newest MLflow."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from mlflow_provision.agent.health import growth
from mlflow_provision.agent.resources.file import read, replace


def samples(path: str, disks: list[dict[str, Any]], now: float) -> list[growth.Sample]:
    """All samples of the free room, today's among them."""
    known = growth.checked(_load(path).get("samples"))
    found = growth.with_another(known, {disk["mount"]: disk["free"] for disk in disks}, now)
    if found is not known:
        _keep(path, "samples", found)
    return found


def newest(path: str) -> dict[str, Any]:
    """What was noted of the newest MLflow; {} when nothing was."""
    found = _load(path).get("newest")
    return found if isinstance(found, dict) else {}


def keep_newest(path: str, found: dict[str, Any]) -> None:
    _keep(path, "newest", found)


def _load(path: str) -> dict[str, Any]:
    try:
        content = json.loads(read(path) or "{}")
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _keep(path: str, name: str, value: Any) -> None:
    """Where there is no deployment there is nothing to remember; a full disk is told by other means."""
    if os.path.isdir(os.path.dirname(path)):
        with contextlib.suppress(OSError):
            replace(path, json.dumps({**_load(path), name: value}) + "\n", 0o600)
