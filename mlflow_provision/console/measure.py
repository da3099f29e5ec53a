"""How far a step has come, in bytes: the bar, the rate, and the time that is left."""

from __future__ import annotations

import math
from collections import deque

from mlflow_provision.console.text import duration, size

_WINDOW = 5.0  # seconds over which the rate is measured: long enough not to jump, short enough to tell a stall
_LONGEST = 24 * 3600.0  # seconds: more is told as nothing at all
_FANCY, _ASCII = ("━", "╌"), ("#", "-")  # done, not done


class Measure:
    """What a step has told about itself so far; `now` is a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.done = 0
        self.total = 0
        self._seen: deque[tuple[float, int]] = deque()
        self._since: tuple[float, int] | None = None  # one value, replaced whole: another thread draws

    def update(self, done: int, total: int, now: float) -> None:
        """A step that starts again from nothing is measured anew."""
        if done < self.done:
            self._seen.clear()
            self._since = None
        self.done, self.total = done, total
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] > _WINDOW:
            self._seen.popleft()
        self._since = self._seen[0]

    def rate(self, now: float) -> float:
        """Bytes per second of late; 0.0 while nobody can know. A step that stands still gets slower and slower."""
        if self._since is None:
            return 0.0
        began, first = self._since
        return (self.done - first) / (now - began) if now > began else 0.0

    def left(self, now: float) -> float | None:
        """Seconds until the end if it goes on like this; None where nobody can know."""
        rate = self.rate(now)
        if not self.total or not rate or self.done >= self.total:
            return None
        seconds = (self.total - self.done) / rate
        return seconds if seconds < _LONGEST else None

    def words(self, now: float) -> str:
        """`120 MB of 260 MB, 32 MB/s, 4s left`."""
        parts = [f"{size(self.done)} of {size(self.total)}" if self.total else size(self.done)]
        if rate := self.rate(now):
            parts.append(f"{size(rate)}/s")
        if left := self.left(now):
            whole = math.ceil(left)
            parts.append(f"{whole}s left" if whole < 60 else f"{duration(whole)} left")
        return ", ".join(parts)

    def bar(self, width: int, fancy: bool) -> tuple[str, str]:
        """The part that is done and the part that is not, together `width` characters; empty without a total."""
        if not self.total or width <= 0:
            return "", ""
        filled = min(width, int(width * self.done / self.total))
        done, rest = _FANCY if fancy else _ASCII
        return done * filled, rest * (width - filled)
