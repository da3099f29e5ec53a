"""A person who goes through the wizard at a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.operator import Operator
from tests.e2e.terminal import Terminal

COLOUR = re.compile(r"\x1b\[[0-9;]*\b(?:3[0-9]|4[0-9]|9[0-7]|10[0-7])\b[0-9;]*m")
LAST = "Is this right"  # the question below the summary


@contextmanager
def at_terminal(operator: Operator, *arguments: str, columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
    """Runs a command in a window; all that it showed is kept for the operator."""
    environment = {name: value for name, value in operator.environment.items() if name != "COLUMNS"}
    argv = [sys.executable, "-m", "mlflow_provision", *arguments]
    with Terminal(argv, environment, columns, rows, operator.home) as terminal:
        try:
            yield terminal
        finally:
            operator.shown.append(terminal.raw)


def asked(terminal: Terminal) -> str:
    """The question that waits for an answer now, with what is typed already; or nothing."""
    if not any("Esc: back" in line for line in terminal.screen):
        return ""
    return next((line[2:] for line in reversed(terminal.screen) if line.startswith("? ")), "")


def choose(terminal: Terminal, question: str, title: str = "") -> None:
    """Waits for a list, moves to the choice that begins with `title` (none: stays), and presses Enter."""
    _wait(terminal, question)
    for _ in range(40):
        if any(line.startswith(f" » {title}") for line in terminal.screen):
            terminal.press("enter")
            return
        terminal.press("down")
    raise AssertionError(f"{title!r} is not in the list:\n{terminal}")


def answer(terminal: Terminal, question: str, text: str = "") -> None:
    """Waits for a question, types (nothing: takes what is recommended), and presses Enter."""
    _wait(terminal, question)
    terminal.types(text).press("enter")


def back(terminal: Terminal, question: str) -> None:
    """Waits for a question, and goes to the one before it."""
    _wait(terminal, question)
    terminal.press("esc")


def take_the_rest(terminal: Terminal, until: str = LAST) -> None:
    """Takes what is recommended, up to a question that is left open: the one whether all is right."""
    before = ""
    while not before.startswith(until):
        if before:
            terminal.press("enter")
        terminal.until(lambda: asked(terminal) not in ("", before), f"no question after {before!r}", 60)  # noqa: B023
        before = asked(terminal)


def _wait(terminal: Terminal, question: str) -> None:
    terminal.until(lambda: asked(terminal).startswith(question), f"{question!r} is not asked", 60)
