"""Versions of MLflow, to be compared."""

from __future__ import annotations

import re


def numbers(version: str) -> tuple[int, ...]:
    """(3, 17, 2) for 3.17.2 and 3.17.2rc1; () for what has no number."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
