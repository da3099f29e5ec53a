"""What a console writes to: `Plain` for pipes and logs, `Silent` for --quiet; `terminal.Terminal` for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, TextIO

from mlflow_provision.agent.protocol import CHANGED, FAILED, SKIPPED, Result
from mlflow_provision.console.text import clean, duration


class Screen(Protocol):
    """Text given to a screen is data: markup and control characters in it mean nothing."""

    def line(self, text: str, style: str = "") -> None:
        """A line of prose. `style` is one of: strong, good, bad, faint, added, removed, or empty."""

    def verbatim(self, text: str, style: str = "") -> None:
        """A line that stays as it is, however long: of a file, a log, or for a program."""

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None: ...

    def change(self, title: str, summary: str) -> None:
        """A line of a plan."""

    def begin(self, title: str) -> None:
        """A step runs from now on."""

    def progress(self, text: str) -> None:
        """The newest line of the step that runs."""

    def measure(self, done: int, total: int) -> None:
        """How many bytes of the step that runs are done; a total of 0 is not known."""

    def end(self, result: Result) -> None:
        """A step is over and worth a line."""

    def rest(self) -> None:
        """No step runs: nothing moves until the next `begin`."""

    def whole(self) -> AbstractContextManager[None]:
        """A picture takes the place of all that is shown, until the block ends."""

    def frame(self) -> AbstractContextManager[None]:
        """What is said within the block is the picture."""


class Plain:
    """One line for each finished thing, no colours, nothing that moves."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def line(self, text: str, style: str = "") -> None:
        self.verbatim(text)

    def verbatim(self, text: str, style: str = "") -> None:
        print(clean(text), file=self._stream, flush=True)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        cells = [[clean(cell) for cell in row] for row in (header, *rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
        for row in cells:
            self.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def change(self, title: str, summary: str) -> None:
        self.line("  * " + "  ".join(part for part in (title, summary) if part))

    def begin(self, title: str) -> None: ...

    def progress(self, text: str) -> None: ...

    def measure(self, done: int, total: int) -> None: ...

    def end(self, result: Result) -> None:
        mark = {CHANGED: "changed", FAILED: "FAILED", SKIPPED: "skipped"}.get(result.verdict, "ok")
        parts = [f"{mark:<8}{result.title}", result.summary, duration(result.seconds)]
        self.line("  ".join(part for part in parts if part))

    def rest(self) -> None: ...

    def whole(self) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def frame(self) -> Iterator[None]:
        """One below the other."""
        yield
        self.line("")


class StepsOnly:
    """The steps of another screen, without prose: what is shown on stderr beside the document of --json."""

    def __init__(self, screen: Screen) -> None:
        self.begin = screen.begin
        self.progress = screen.progress
        self.measure = screen.measure
        self.end = screen.end
        self.rest = screen.rest

    def line(self, text: str, style: str = "") -> None: ...

    def verbatim(self, text: str, style: str = "") -> None: ...

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None: ...

    def change(self, title: str, summary: str) -> None: ...

    def whole(self) -> AbstractContextManager[None]:
        return nullcontext()

    def frame(self) -> AbstractContextManager[None]:
        return nullcontext()


class Silent:
    """Shows nothing. Errors do not come this way."""

    def line(self, text: str, style: str = "") -> None: ...

    def verbatim(self, text: str, style: str = "") -> None: ...

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None: ...

    def change(self, title: str, summary: str) -> None: ...

    def begin(self, title: str) -> None: ...

    def progress(self, text: str) -> None: ...

    def measure(self, done: int, total: int) -> None: ...

    def end(self, result: Result) -> None: ...

    def rest(self) -> None: ...

    def whole(self) -> AbstractContextManager[None]:
        return nullcontext()

    def frame(self) -> AbstractContextManager[None]:
        return nullcontext()
