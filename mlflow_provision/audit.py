"""The log of a host's changes, as people read it: one entry for each thing that was done. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_OF_THE_BEGINNING = ("at", "deployment", "what", "operator", "login", "from")


def changes(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of the log, oldest first, with those of a beginning and of an end made one. `outcome`: done, failed, or
    "cut off" for what has no end: it was killed, the host went down, or it is still at work."""
    found: list[dict[str, Any]] = []
    open_ones: dict[str, dict[str, Any]] = {}
    for entry in entries:
        key = str(entry.get("id", ""))
        if entry.get("event") == "begun":
            known = {name: str(entry.get(name) or "") for name in _OF_THE_BEGINNING}
            open_ones[key] = {**known, "outcome": "cut off", "seconds": None, "message": "", "changes": []}
            found.append(open_ones[key])
        elif begun := open_ones.pop(key, None):
            _end(begun, entry)
        else:  # its beginning was in what is gone
            lost = {**dict.fromkeys(_OF_THE_BEGINNING, ""), "at": str(entry.get("at") or ""), "what": "?"}
            found.append(lost)
            _end(lost, entry)
    return found


def _end(change: dict[str, Any], entry: dict[str, Any]) -> None:
    change["outcome"] = "done" if entry.get("event") == "done" else "failed"
    change["seconds"] = entry.get("seconds")
    change["message"] = str(entry.get("message") or "")
    change["changes"] = [str(line) for line in entry.get("changes") or []]
