"""How the status of several deployments looks to people: a table, and what somebody should look after."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from mlflow_provision.cli.status_shown import LONG, Summary, state
from mlflow_provision.console.text import elapsed, size

if TYPE_CHECKING:
    from mlflow_provision.console import Console

_HEADER = ("NAME", "STATE", "UP", "MLFLOW", "MEMORY", "DISK FREE", "DATABASE", "RUNS", "BACKUP", "TUNNEL")
_LESS = ("DATABASE", "TUNNEL", "MEMORY", "RUNS", "UP")  # columns that a narrow terminal does without, in this order


def say_all(console: Console, found: list[Summary], now: float) -> None:
    """Several deployments: a line for each, then what somebody should look after."""
    lines = [_line(status, now + (status.get("clock_skew") or 0.0)) for status in found]
    room = get_terminal_size().columns if sys.stdout.isatty() else None
    console.table(*fitting(_HEADER, lines, room))
    notes = [(status["name"], text) for status in found for text in _notes(status)]
    if notes:
        console.say()
    for name, text in notes:
        console.say(f"{name}: {text}", "bad")


def fitting(
    header: Sequence[str], lines: Sequence[Sequence[str]], room: int | None
) -> tuple[list[str], list[list[str]]]:
    """As many columns as fit into so many characters; None: all."""
    table = [list(header), *map(list, lines)]
    for name in _LESS if room else ():
        if sum(max(map(len, column)) + 2 for column in zip(*table, strict=True)) <= (room or 0):
            break
        at = table[0].index(name)
        table = [row[:at] + row[at + 1 :] for row in table]
    return table[0], table[1:]


def _line(status: Summary, now: float) -> list[str]:
    if not status["reachable"]:
        return [status["name"], "not seen", *[""] * (len(_HEADER) - 2)]
    worst = min(status["disks"], key=_lasts, default=None)
    words = {True: "healthy", False: "not healthy"}[status["healthy"]] if status["running"] else "stopped"
    newest = status["newest_version"]
    newer = newest and status["mlflow_version"] and newest != status["mlflow_version"]
    return [
        status["name"],
        words,
        _short(status["seconds"]) if status["running"] else "",
        (status["mlflow_version"] or "-") + ("*" if newer else ""),
        size(status["memory"]) if status["running"] else "",
        _room(worst),
        "" if status["database_size"] is None else size(status["database_size"]),
        "" if status["runs"] is None else f"{status['runs']:,}",
        _backup(status["backup"], now),
        status["tunnel"]["state"] if status["tunnel"] else "",
    ]


def _notes(status: Summary) -> Iterator[str]:
    if not status["reachable"]:
        yield f"{status['error']['message']}" + (f" ({status['error']['hint']})" if status["error"]["hint"] else "")
        return
    if not status["healthy"]:
        problem = status["problem"].splitlines()
        yield f"it is {state(status)}" + (f": {problem[-1]}" if problem else "")
    yield from status["warnings"]


def _lasts(disk: dict[str, Any]) -> tuple[float, int]:
    return (float("inf") if disk["days_left"] is None else disk["days_left"], disk["free"])


def _room(disk: dict[str, Any] | None) -> str:
    if not disk:
        return ""
    days = disk["days_left"]
    return size(disk["free"]) + (f", {days:,.0f} d" if days is not None and days < LONG else "")


def _backup(backup: dict[str, Any] | None, now: float) -> str:
    if not backup:
        return "none"
    made = backup.get("made")
    text = f"{_short(now - made['at'])} ago" if made else "none yet"
    return f"{text}, FAILED" if backup.get("failed") else text


def _short(seconds: float) -> str:
    """One unit is enough in a table."""
    parts = elapsed(seconds).split()
    return " ".join(parts[:2])
