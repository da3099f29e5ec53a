"""The renames between the old databases and the restored ones. Each half can be killed anywhere and begun again.

All of it is done as the service user, whose folders these are: `noted` is the journal, with `live` (database → path),
`had` (which of them were there), `old` (a folder for those) and `kept` (one for what others wrote since, or "").
"""

from __future__ import annotations

import os
from typing import Any

from mlflow_provision.agent.databases.contents import BESIDE
from mlflow_provision.agent.durable import sync_folder


def switch(noted: dict[str, Any], beside: str) -> None:
    """The old databases go aside, with what SQLite keeps beside them, and then the restored ones take their places."""
    old = noted["old"]
    for name, path in noted["live"].items():
        for ending in ("", *BESIDE):
            _move(path + ending, f"{old}/{name}{ending}")
    _sync(noted)
    for name, path in noted["live"].items():
        os.rename(f"{beside}/{name}", path)
    _sync(noted)


def put_back(noted: dict[str, Any]) -> None:
    """The old databases where they were, bit for bit; restored ones go to `kept`, or go."""
    old, kept = noted["old"], noted.get("kept", "")
    if kept:
        os.makedirs(kept, mode=0o700, exist_ok=True)
    for name, path in noted["live"].items():
        # Where there is an old one, or never was one, what has its name is the restored one. What is beside a database
        # belongs to it as long as it is there: it goes last, and comes back last.
        restored = os.path.lexists(path) and (os.path.lexists(f"{old}/{name}") or not noted["had"][name])
        if restored:
            for ending in (*BESIDE, ""):
                if kept:
                    _move(path + ending, f"{kept}/{name}{ending}")
                elif os.path.lexists(path + ending):
                    os.unlink(path + ending)
        for ending in (*BESIDE, ""):
            _move(f"{old}/{name}{ending}", path + ending)
    _sync(noted)


def _move(source: str, target: str) -> None:
    if os.path.lexists(source):
        os.rename(source, target)


def _sync(noted: dict[str, Any]) -> None:
    for folder in {noted["old"], *map(os.path.dirname, noted["live"].values())}:
        if os.path.isdir(folder):
            sync_folder(folder)
