"""The pictures in docs/screens/, from a real run on a lab host: `python -m tests.screens`.

What differs from run to run (seconds, memory, checksums) differs in them too.
"""

from __future__ import annotations

import io
import sys
import tempfile
from itertools import groupby
from pathlib import Path

import pyte
import pyte.graphics
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from tests.e2e.operator import REPOSITORY, Operator
from tests.e2e.person import LAST, asked, at_terminal, choose, take_the_rest
from tests.e2e.terminal import Terminal
from tests.lab import LabHost, why_unavailable

FOLDER = REPOSITORY / "docs" / "screens"
HOST = "mlops"  # what the host is called in the pictures
COLOURS = {"brown": "yellow"}  # as pyte calls it
pyte.graphics.TEXT[2] = "+blink"  # pyte knows no dimmed text, and nothing of ours blinks

# rich's own, but with fonts that are there instead of fonts from the net.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
    font-size: {char_height}px;
    line-height: {line_height}px;
}}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""


def main() -> int:
    if reason := why_unavailable():
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as home, LabHost(HOST, shared_cache=False) as host:
        operator = Operator(Path(home), host.ssh_config)
        operator.variables["MLFLOW_PROVISION_CONFIG_DIR"] = f"{home}/.config/mlflow-provision"
        with at_terminal(operator, "setup") as terminal:
            take_pictures(terminal)
    return 0


def take_pictures(terminal: Terminal) -> None:
    """The main path: a host of ~/.ssh/config, and what is recommended for it."""
    choose(terminal, "Where should the server run", HOST)
    terminal.until(lambda: asked(terminal).startswith("Where should artifacts go"), "no facts are shown", 60)
    keep(terminal, "questions")
    take_the_rest(terminal)
    keep(terminal, "summary", "Summary")
    choose(terminal, LAST, "Yes, set it up")
    terminal.waits_for(r"release .*s  (Downloaded|Downloading|Prepared|Installed|Building)")
    keep(terminal, "progress", "? Is this right")
    code = terminal.ended(200)
    assert code == 0, f"ended with {code}:\n{terminal}"
    keep(terminal, "ending")


def keep(terminal: Terminal, name: str, since: str = "") -> None:
    """What is to be seen now, from the first line that begins with `since`."""
    path = FOLDER / f"{name}.svg"
    path.parent.mkdir(exist_ok=True)
    path.write_text(picture(terminal.picture, "mlflow-provision setup", since))
    print(path.relative_to(REPOSITORY))


def picture(screen: pyte.Screen, title: str, since: str = "") -> str:
    """A screen as SVG, without the empty lines at its end."""
    lines = [_line(screen, row) for row in range(screen.lines)]
    lines = lines[next(row for row, line in enumerate(lines) if line.plain.startswith(since)) :]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    console = Console(
        record=True, width=screen.columns, file=io.StringIO(), force_terminal=True, color_system="standard"
    )
    for line in lines:
        console.print(line, soft_wrap=True)
    return console.export_svg(title=title, theme=DIMMED_MONOKAI, code_format=FORMAT, unique_id="screen")


def _line(screen: pyte.Screen, row: int) -> Text:
    line = Text(end="")
    cells = [screen.buffer[row][column] for column in range(screen.columns)]
    for style, run in groupby(cells, _style):
        line.append("".join(cell.data for cell in run), style)
    line.rstrip()
    return line


def _style(cell: pyte.screens.Char) -> Style:
    colour = None if cell.fg == "default" else COLOURS.get(cell.fg, cell.fg)
    return Style(color=colour, bold=cell.bold, dim=cell.blink, underline=cell.underscore, reverse=cell.reverse)


if __name__ == "__main__":
    sys.exit(main())
