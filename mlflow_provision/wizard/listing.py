"""How the choices of a list look in so many columns and rows: pure, so that it can be tested without a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from mlflow_provision.console.text import clean
from mlflow_provision.wizard.asking import Choice

Fragment = tuple[str, str]  # style, text: what prompt_toolkit draws

HERE = ("[SetCursorPosition]", "")  # what stays in view when the list is longer than the screen
ROOM = 34  # columns below which a note goes under its title, not beside it


def drawn(choices: Sequence[Choice], pointed: int, width: int, rows: int, pointer: str) -> list[Fragment]:
    """All lines; notes wrap while the whole list fits `rows`, and are cut where it does not."""
    column = _column(choices, width)
    told = [_told(choice, column, width) for choice in choices]
    if sum(map(len, told)) > rows:
        told = [[_cut("  ".join([lines[0], *(line.strip() for line in lines[1:])]), width - 4)] for lines in told]
    fragments: list[Fragment] = []
    for number, (choice, lines) in enumerate(zip(choices, told, strict=True)):
        here = number == pointed
        fragments += [("class:pointer", f" {pointer} "), HERE] if here else [("", " - " if choice.why_not else "   ")]
        title = len(_title(choice, width))
        style = "class:highlighted" if here else "class:unavailable" if choice.why_not else ""
        fragments += [(style, lines[0][:title]), ("class:note", lines[0][title:])]
        fragments += [("class:note", f"\n   {line}") for line in lines[1:]]
        fragments.append(("", "\n"))
    return fragments[:-1]


def _column(choices: Sequence[Choice], width: int) -> int:
    """Where notes begin, so that they stand below each other; 0 where there is no room for that."""
    longest = max((len(_title(choice, width)) for choice in choices if _note(choice)), default=0)
    return longest + 2 if 3 + longest + 2 + ROOM <= width else 0


def _told(choice: Choice, column: int, width: int) -> list[str]:
    """The title with its note beside it, or below where that is too narrow."""
    title, note = _title(choice, width), _note(choice)
    if not note:
        return [title]
    if column:
        first, *rest = wrapped(note, width - 4 - column)
        return [f"{title:<{column}}{first}", *(" " * column + line for line in rest)]
    if len(title) + 2 + len(note) <= width - 4:
        return [f"{title}  {note}"]
    return [title, *("  " + line for line in wrapped(note, width - 6))]


def wrapped(text: str, width: int) -> list[str]:
    """Whole words; commands are not broken at their dashes."""
    return textwrap.wrap(text, max(10, width), break_on_hyphens=False) or [""]


def _title(choice: Choice, width: int) -> str:
    return _cut(clean(choice.title), width - 4)


def _note(choice: Choice) -> str:
    return " ".join(clean(choice.why_not or choice.note).split())


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(1, width - 1)] + "…"
