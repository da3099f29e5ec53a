"""Text that is safe and short enough to show."""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")
_SKEW = 60.0  # seconds that two clocks may differ without a word
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """The text without terminal escapes and control characters: a log line must not steer the terminal."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text)).expandtabs(4)


def cut(line: str, length: int) -> str:
    """The beginning of a line that is longer than that: a log may hold a page without a break."""
    return line if len(line) <= length else line[: length - 1] + "…"


def duration(seconds: float) -> str:
    """How long something took: nothing below a twentieth of a second, else `0.4s`, `12s`, `2m 05s`, `1h 20m`."""
    if seconds < 0.05:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 59.5:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60}h {minutes % 60:02d}m"
    return f"{minutes}m {rest:02d}s"


def elapsed(seconds: float) -> str:
    """How long ago something was: `3 d 4 h`, `2 h 5 min`, `12 s`: two units are enough."""
    rest = int(max(0.0, seconds))
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def ago(moment: float, now: float) -> str:
    """`2 h 5 min ago`, by the clock that says `now`; both are seconds since 1970."""
    return f"{elapsed(now - moment)} ago" if now >= moment - _SKEW else "in the future, by the host's clock"


def size(count: float) -> str:
    """A number of bytes for people: `430 MB`, `2.1 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def plural(count: int, noun: str) -> str:
    """`1 change`, `3 changes`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
