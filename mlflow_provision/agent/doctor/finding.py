"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OK, BAD, WARN, SKIPPED, UNKNOWN = "ok", "bad", "warn", "skipped", "unknown"


@dataclass(frozen=True)
class Finding:
    """A verdict, and what was seen. `data` may carry a `cause`, a `remedy` and a `fix` that fit better than those that
    the catalog has for the check in general."""

    verdict: str
    evidence: str
    data: dict[str, Any] = field(default_factory=dict)


class Skip(Exception):
    """Why a check makes no sense here."""


def ok(evidence: str, **data: Any) -> Finding:
    return Finding(OK, evidence, data)


def bad(evidence: str, **data: Any) -> Finding:
    return Finding(BAD, evidence, data)


def warn(evidence: str, **data: Any) -> Finding:
    return Finding(WARN, evidence, data)


def unknown(evidence: str, **data: Any) -> Finding:
    return Finding(UNKNOWN, evidence, data)


def some(items: list[str], most: int = 3) -> str:
    """The first of many, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def counted(number: int, one: str, many: str = "") -> str:
    """`1 run`, `2 runs`, `2 entries`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def ago(seconds: float) -> str:
    """How long ago something was, for people: `12 minutes`, `3 days`."""
    for unit, size in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 2 * size or (seconds >= size and unit != "minute"):
            return counted(round(seconds / size), unit) + " ago"
    return counted(max(1, round(seconds)), "second") + " ago"
