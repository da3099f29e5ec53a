"""The secrets that a database was written with: gateway keys in it can be read with its own passphrase only."""

from __future__ import annotations

import re
import shlex

from mlflow_provision.agent.resources.file import read

_LINE = re.compile(r"^(MLFLOW_[A-Z0-9_]+)=(.+)$")


def merged(path: str, restored: str) -> str:
    """The text of secrets.env after a restore: what the backup has, and what only the host has. Read by a shell that
    starts the server: of a backup nothing is taken but plain values of MLflow's own variables."""
    values = {**_values(read(path) or ""), **_values(restored)}
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def differs(path: str, restored: str) -> bool:
    """Does the backup have other secrets than the host?"""
    now = _values(read(path) or "")
    return any(now.get(name) != value for name, value in _values(restored).items())


def _values(text: str) -> dict[str, str]:
    found = {}
    for match in map(_LINE.match, text.splitlines()):
        words = _words(match.group(2)) if match else []
        if match and len(words) == 1:
            found[match.group(1)] = words[0]
    return found


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:
        return []
