"""How an error looks: what failed and why, then the next command to type."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

import click

from mlflow_provision.console.text import clean


def show_error(message: str, hint: str = "") -> None:
    """`Error: …` and `  Next: …` on stderr; wrapped and coloured only where a person reads it."""
    person = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    colour = person and "NO_COLOR" not in os.environ
    first, *rest = clean(message).splitlines() or ["unknown"]
    label = click.style("Error:", fg="red", bold=True) if colour else "Error:"
    lines = [label + " " + _wrapped("Error: " + first, person)[len("Error: ") :], *("  " + line for line in rest)]
    for number, line in enumerate(clean(hint).splitlines()):
        lines.append(("  Next: " if number == 0 else "        ") + line)
    click.echo("\n".join(lines), err=True, color=colour or None)


def _wrapped(line: str, person: bool) -> str:
    if not person:
        return line
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
