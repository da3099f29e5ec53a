"""A line of a log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """`at`: seconds since 1970, None where the log does not say; `severe`: whoever wrote it calls it an error itself;
    `ours`: the server wrote it, not systemd about it."""

    at: float | None
    text: str
    severe: bool = False
    ours: bool = True
