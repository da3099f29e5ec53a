"""The screen for people on a terminal: the running step moves, finished steps stay as one line each."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mlflow_provision.agent.protocol import FAILED, SKIPPED, Result
from mlflow_provision.console.folding import folded
from mlflow_provision.console.measure import Measure
from mlflow_provision.console.text import clean, cut, duration

_STYLES = {
    "": "",
    "strong": "bold",
    "good": "green",
    "bad": "bold red",
    "faint": "dim",
    "added": "green",
    "removed": "red",
}
_WIDEST_BAR, _NARROWEST_BAR = 30, 6  # characters


class Terminal:
    """Draws with rich, which never sees markup: only `Text`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = RichConsole(file=stream, highlight=False, markup=False, emoji=False)
        self._fancy = "utf" in (getattr(stream, "encoding", None) or self._console.encoding).lower()
        self._live: Live | None = None
        self._running = _Running(self._fancy)
        self._frame = ""

    def line(self, text: str, style: str = "") -> None:
        for part in folded(clean(text), self._console.width):
            self.verbatim(part, style)

    def verbatim(self, text: str, style: str = "") -> None:
        self._console.print(Text(clean(text), style=_STYLES[style]), soft_wrap=True)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="bold")
        for name in header:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(cell)) for cell in row))
        self._console.print(table)

    def change(self, title: str, summary: str) -> None:
        line, words = Text("  * " + clean(title)), Text(clean(summary), style="dim")
        fits = line.cell_len + 2 + words.cell_len <= self._console.width
        line.append_text(Text.assemble("  " if fits else "\n      ", words) if summary else Text())
        self._console.print(line, soft_wrap=True)

    def begin(self, title: str) -> None:
        self._running.begin(clean(title))
        if self._live is None:
            self._live = Live(self._running, console=self._console, refresh_per_second=10, transient=True)
            self._live.start()

    def progress(self, text: str) -> None:
        self._running.newest = clean(text).strip()

    def measure(self, done: int, total: int) -> None:
        self._running.measured.update(done, total, time.monotonic())

    def end(self, result: Result) -> None:
        self._running.begin("")
        for text in self._finished(result):
            self._console.print(text, no_wrap=True, overflow="ellipsis", crop=True)

    def rest(self) -> None:
        if self._live is not None:
            self._running.begin("")
            self._live.stop()
            self._live = None

    @contextmanager
    def whole(self) -> Iterator[None]:
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)
        try:
            yield
        finally:
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)
            self._write(self._frame)

    @contextmanager
    def frame(self) -> Iterator[None]:
        with self._console.capture() as capture:
            yield
        self._frame = capture.get()
        rows = self._frame.splitlines()[: max(1, self._console.height - 1)]
        # Each line is written over the old one, so nothing flickers.
        self._write("\x1b[H" + "".join(f"{row}\x1b[K\r\n" for row in rows) + "\x1b[J")

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()

    def _finished(self, result: Result) -> list[Text]:
        """A line for the step; what a failed step says gets lines of its own."""
        mark, style = self._mark(result.verdict)
        title, took = clean(result.title), duration(result.seconds)
        summary = "" if result.verdict == FAILED else " ".join(clean(result.summary).split())
        line = Text.assemble((mark, style), " ", title)
        room = self._console.width - line.cell_len - len(took) - 4
        if summary and room > 3:
            shortened = Text("  " + summary, style="dim")
            shortened.truncate(room, overflow="ellipsis")
            line.append_text(shortened)
        if took:
            line.append("  " + took, style="dim")
        said = clean(result.summary).splitlines() if result.verdict == FAILED else []
        return [line, *(Text("    " + part) for text in said for part in self._wrapped(text))]

    def _wrapped(self, text: str) -> list[str]:
        """What a failed step says is never cut at the edge of the screen, and never a wall either."""
        width = max(20, self._console.width - 5)
        return textwrap.wrap(cut(text, 3 * width), width, break_on_hyphens=False) or [""]

    def _mark(self, verdict: str) -> tuple[str, str]:
        if verdict == FAILED:
            return ("✗" if self._fancy else "x"), "bold red"
        if verdict == SKIPPED:
            return "-", "dim"
        return ("✓" if self._fancy else "*"), "green"


class _Running:
    """The moving line: spinner, title, seconds, how far it has come, and the newest line the step printed."""

    def __init__(self, fancy: bool) -> None:
        self._fancy = fancy
        self._spinner = Spinner("dots" if fancy else "line", style="cyan")
        self._began = 0.0
        self.title = ""
        self.newest = ""
        self.measured = Measure()

    def begin(self, title: str) -> None:
        self.title, self.newest, self._began = title, "", time.monotonic()
        self.measured = Measure()

    def _frame(self, now: float) -> Text:
        frame = self._spinner.render(now)
        return frame if isinstance(frame, Text) else Text("")

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        if not self.title:
            return
        now = time.monotonic()
        seconds = int(now - self._began)
        line = Text.assemble(self._frame(console.get_time()), " ", self.title)
        if seconds:
            line.append("  " + duration(seconds), style="dim")
        if self.measured.done or self.measured.total:
            self._add_measure(line, now, options.max_width - 1)
        if self.newest:
            line.append("  " + self.newest, style="dim")
        line.no_wrap = True
        line.truncate(options.max_width - 1, overflow="ellipsis")
        yield line

    def _add_measure(self, line: Text, now: float, width: int) -> None:
        """The words first: on a narrow screen the bar gives way to them."""
        words = "  " + self.measured.words(now)
        room = min(_WIDEST_BAR, width - line.cell_len - len(words) - 2)
        done, rest = self.measured.bar(room, self._fancy) if room >= _NARROWEST_BAR else ("", "")
        if done or rest:
            line.append_text(Text.assemble("  ", (done, "cyan"), (rest, "dim")))
        line.append(words, style="dim")
