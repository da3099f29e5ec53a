"""`--since`: how far to look back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_END_OF_TIME = 253402300799.0  # the last second of the year 9999
_PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*(min|[smhdw])\s*")


class Since(click.ParamType[float]):
    """`30m`, `1h30m`, `2d`, or a date or time of this machine's clock: the seconds from then to now."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        ago = seconds_since(str(value), time.time())
        if ago is None and seconds_since(str(value), _END_OF_TIME) is not None:
            self.fail(f"{value!r} is yet to come", param, ctx)
        if ago is None:
            self.fail(f"{value!r} is not like 30m, 2h, 1d, or 2026-11-21, or '2026-11-21 18:00'", param, ctx)
        return ago


def seconds_since(text: str, now: float) -> float | None:
    """How many seconds before `now` that was; None for what cannot be understood, or is still to come."""
    text = text.strip()
    pieces = _PIECE.findall(text)
    if pieces and not _PIECE.sub("", text):
        return float(sum(float(number) * _UNITS[unit] for number, unit in pieces))
    try:
        then = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    ago = now - then.timestamp()
    return ago if ago >= 0 else None


def since_option(what: str) -> Callable[[Command], Command]:
    return click.option("--since", type=Since(), metavar="WHEN", help=what)
