"""How what a person typed is shown back to them, and what they may have meant."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST_SHOWN = 60
HUGE = 10**20  # Python refuses to print integers of thousands of digits


def shown(value: object) -> str:
    """The value in quotes, without control characters, not longer than a line, a URL without its credentials."""
    if isinstance(value, int) and abs(value) > HUGE:
        return "a huge number"
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return cut(repr(value))
    masked = re.sub(r"//.*@", "//…@", value, flags=re.DOTALL)
    return "'" + cut(repr(masked)[1:-1]) + "'"


def cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, whatever its case; "" if none is near."""
    import difflib

    by_folded = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(word[:100].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to append to an error: `; did you mean prod?`, or nothing."""
    match = nearest(word, known)
    return f"; did you mean {match}?" if match else ""


def one_of(words: Iterable[str]) -> str:
    """`a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def has_control_characters(text: str) -> bool:
    return any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text)
