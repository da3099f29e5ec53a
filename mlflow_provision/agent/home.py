"""Paths in the home folder of whoever the agent runs as."""

from __future__ import annotations

import os
from typing import Any


def expanded(value: Any) -> Any:
    """The same with `~` for the home folder in all paths of a request: no facts need to be asked before it."""
    if isinstance(value, str):
        return os.path.expanduser(value) if value == "~" or value.startswith("~/") else value
    if isinstance(value, dict):
        return {key: expanded(part) for key, part in value.items()}
    return [expanded(part) for part in value] if isinstance(value, list) else value
