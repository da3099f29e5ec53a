"""How an error looks: what failed and why, then the next command to type."""

from __future__ import annotations

import os
import shutil
import sys

import click

from mlflow_provision.console.folding import COMMAND, wrapped
from mlflow_provision.console.text import clean, cut


def show_error(message: str, hint: str = "", plain: bool = False) -> None:
    """`Error: …` and `  Next: …` on stderr; wrapped and coloured only on a terminal that can."""
    person = sys.stderr.isatty() and not plain and os.environ.get("TERM") != "dumb"
    width = max(40, shutil.get_terminal_size().columns) if person else 0
    first, *rest = clean(message).splitlines() or ["unknown"]
    lines = wrapped("Error: " + first, width, "  ")
    for line in rest:
        lines += ["  " + part for part in (wrapped(cut(line, 3 * width), width - 2, "  ") if width else [line])]
    for number, line in enumerate(clean(hint).splitlines()):
        lines += _hint(("  Next: " if number == 0 else "        ") + line, width)
    text = "\n".join(lines)
    if person and not os.environ.get("NO_COLOR"):
        text = text.replace("Error:", click.style("Error:", fg="red", bold=True), 1)
    click.echo(text, err=True, color=person or None)


def _hint(line: str, width: int) -> list[str]:
    indent = " " * len("  Next: ")
    command = COMMAND.match(line.strip().removeprefix("Next: "))
    if not width or len(line) <= width or not command:
        return wrapped(line, width, indent)
    said, typed = command[1] or "", command[2]
    return [*wrapped("  Next: " + said, width, indent), indent + typed] if said else [line]
