"""How a question reaches a person. What answers it: `terminal`, `plain`, `recommended`, or a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


class Back(Exception):
    """The person wants to return to the question before this one."""


@dataclass(frozen=True)
class Choice:
    """One line of a list. `why_not` greys it out and says why; `note` explains it beside its title."""

    value: str
    title: str
    note: str = ""
    why_not: str = ""


Problem = Callable[[str], str | None]  # what is wrong with an answer, in a sentence; None or "" if nothing


def anything(answer: str) -> str | None:
    """The rule of a question that takes every answer."""
    return None


class Asker(Protocol):
    """Every method raises `Back` when the person goes back, KeyboardInterrupt at Ctrl-C, and EOFError when nobody is
    there any more. `flag` names what would have answered the question on the command line."""

    def choose(self, question: str, choices: Sequence[Choice], default: str = "", flag: str = "") -> str:
        """The value of one choice. `default` is the recommended one, where the pointer starts."""

    def text(self, question: str, default: str = "", problem: Problem = anything, flag: str = "") -> str:
        """A line without spaces around it. Asked again, with the problem told, until there is none."""

    def secret(self, question: str, problem: Problem = anything, flag: str = "") -> str:
        """A line that is never shown. An empty one is an answer too, if `problem` allows it."""

    def confirm(self, question: str, default: bool, flag: str = "") -> bool: ...
