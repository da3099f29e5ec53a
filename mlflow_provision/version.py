"""Versions of MLflow, to be compared."""

from __future__ import annotations

import re


def numbers(version: str) -> tuple[int, ...]:
    """(3, 17, 2) for 3.17.2 and 3.17.2rc1; () for what has no number."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def newer(version: str, than: str) -> bool:
    """Does one version come after the other? A candidate (3.18.0rc1) comes before what it is one of."""
    return _order(version) > _order(than)


def _order(version: str) -> tuple[list[int], bool, str]:
    final, _, candidate = version.partition("rc")
    return [*numbers(final), 0, 0, 0][:3], not candidate, candidate.zfill(3)
