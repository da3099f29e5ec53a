"""All that is printed: moving steps for people, plain lines for pipes and logs, one JSON document for programs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TextIO

from mlflow_provision.agent.protocol import CHANGED, FAILED, OK, SKIPPED, Done, Event, Output, Progress, Result, Start
from mlflow_provision.console.errors import show_error
from mlflow_provision.console.screen import Plain, Screen, Silent, StepsOnly
from mlflow_provision.console.text import clean
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.schema import Document, step

EVERYTHING = (OK, CHANGED, FAILED, SKIPPED)
DIFFERENCES = (CHANGED, FAILED)


class Console:
    """What one command shows, and the document of what it did."""

    def __init__(
        self, document: Document, screen: Screen, as_json: bool = False, asks: bool = False, plain: bool = False
    ) -> None:
        self.document = document
        self.asks = asks  # is there a person who sees what we show and can answer?
        self.plain = plain  # questions too must neither move nor be coloured
        self.home = ""  # of the person the server runs as: paths below it are shown with a `~`
        self.answer: dict[str, Any] = {}  # the data that ended the last request
        self._screen = screen
        self._as_json = as_json
        self._as_lines = False
        self._title = ""  # of what moves
        self._began = time.monotonic()

    @classmethod
    def of_command(cls, command: str, as_json: bool = False, quiet: bool = False, plain: bool = False) -> Console:
        """The console that fits the terminal, the pipe and the flags."""
        asks = _person_there() and not as_json and not quiet
        plain = plain or os.environ.get("TERM") == "dumb"
        return cls(Document(command), _screen(as_json, quiet, plain), as_json, asks, plain)

    @property
    def seconds(self) -> float:
        """How long the command has been running, without the time that a person took to answer."""
        return time.monotonic() - self._began

    def say(self, text: str = "", style: str = "") -> None:
        """Lines of prose, broken between words where the terminal is narrower."""
        for line in text.split("\n"):
            self._screen.line(line, style)

    def show(self, text: str, style: str = "") -> None:
        """Lines as they are, however long: of a log, or for a program."""
        for line in text.split("\n"):
            self._screen.verbatim(line, style)

    def aside(self, text: str) -> None:
        """For people, on stderr: where stdout is for the shell."""
        if isinstance(self._screen, (Silent, StepsOnly)):
            return
        print(clean(text), file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Something that should be known besides."""
        self.document.notes.append(clean(text))
        self._screen.line(f"Note: {text}")

    def change(self, result: Result) -> None:
        """A resource that would change."""
        self._screen.change(self.shortened(result.title), result.summary)

    def shortened(self, text: str) -> str:
        """The text with `~` for the home folder."""
        return text.replace(f"{self.home}/", "~/") if self.home else text

    def diff(self, text: str, indent: str = "    ") -> None:
        """A unified diff, coloured on a terminal."""
        for line in text.splitlines():
            self._screen.verbatim(indent + line, _diff_style(line))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._screen.table(header, rows)

    @contextmanager
    def busy(self, title: str) -> Iterator[None]:
        """Something runs on the operator's side, or is waited for, and leaves no line behind."""
        self._screen.begin(title)
        try:
            yield
        finally:
            self._screen.rest()

    def moving(self, title: str, newest: str = "") -> None:
        """What goes on now, drawn anew each time; it moves until `still()`."""
        if title != self._title:
            self._screen.begin(title)
            self._title = title
        self._screen.progress(newest)

    @contextmanager
    def whole_screen(self) -> Iterator[None]:
        """The terminal belongs to a picture that is drawn anew; its last state stays, below what was there before."""
        with self._screen.whole():
            yield

    @contextmanager
    def frame(self) -> Iterator[None]:
        """The picture: what is said within the block."""
        with self._screen.frame():
            yield

    def still(self) -> None:
        """Nothing moves: somebody else may write on the terminal."""
        self._screen.rest()
        self._title = ""

    def event(self, what: dict[str, Any]) -> None:
        """Something happened in a command that runs for long: with --json, a line of its own, and so is the document
        at the end."""
        self._as_lines = True
        if self._as_json:
            print(json.dumps(what), flush=True)

    @contextmanager
    def question(self) -> Iterator[None]:
        """A person is asked: nothing moves, and the time they take is not ours."""
        self._screen.rest()
        asked = time.monotonic()
        try:
            yield
        finally:
            self._began += time.monotonic() - asked

    def steps(self, events: Iterable[Event], shown: Collection[str] = DIFFERENCES) -> list[Result]:
        """Shows the steps of a request as they happen; those of a `shown` verdict leave a line.

        Why a step failed is left to the error that ends the request.
        """
        self.document.steps = []
        return self._follow(events, shown, self.document.steps, self._end_without_reason)

    def verdicts(self, events: Iterable[Event], shown: Collection[str] = EVERYTHING) -> list[Result]:
        """Shows what verify finds."""
        self.document.verify = []
        return self._follow(events, shown, self.document.verify, self._end)

    def error(self, error: ProvisionError) -> None:
        """Tells what went wrong on stderr, and in the document."""
        self._screen.rest()
        self.document.error = {"message": error.message, "hint": error.hint, "code": int(error.code)}
        show_error(error.message, error.hint, self.plain)

    def finish(self, code: ExitCode) -> None:
        """The command is over: the document goes out, where one was asked for."""
        self._screen.rest()
        self.document.exit_code = int(code)
        self.document.ok = code is ExitCode.DONE
        self.document.seconds = round(self.seconds, 3)
        if self._as_json:
            print(json.dumps(self.document.as_json(), indent=None if self._as_lines else 2), flush=True)

    def _follow(
        self,
        events: Iterable[Event],
        shown: Collection[str],
        record: list[dict[str, Any]],
        end: Callable[[Result], None],
    ) -> list[Result]:
        results: list[Result] = []
        try:
            for event in events:
                if isinstance(event, Start):
                    self._screen.begin(self.shortened(event.title))
                elif isinstance(event, Output):
                    self._screen.progress(event.line)
                elif isinstance(event, Progress):
                    self._screen.measure(event.done, event.total)
                elif isinstance(event, Result):
                    results.append(event)
                    record.append(step(event))
                    if event.verdict in shown:
                        end(event)
                elif isinstance(event, Done):
                    self.answer = event.data
        finally:
            self._screen.rest()
        return results

    def _end(self, result: Result) -> None:
        self._screen.end(replace(result, title=self.shortened(result.title)))

    def _end_without_reason(self, result: Result) -> None:
        self._end(replace(result, summary="") if result.verdict == FAILED else result)


def _person_there() -> bool:
    """Can a question be seen and answered?"""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _screen(as_json: bool, quiet: bool, plain: bool) -> Screen:
    if quiet:
        return Silent()
    return StepsOnly(_written_to(sys.stderr, plain)) if as_json else _written_to(sys.stdout, plain)


def _written_to(stream: TextIO, plain: bool) -> Screen:
    _forgive(stream)
    if stream.isatty() and not plain:
        from mlflow_provision.console.terminal import Terminal

        return Terminal(stream)
    return Plain(stream)


def _forgive(stream: TextIO) -> None:
    """Where the encoding lacks a character, show an escape instead of failing."""
    reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _diff_style(line: str) -> str:
    if line.startswith(("+++", "---")):
        return "strong"
    if line.startswith("@@"):
        return "faint"
    return {"+": "added", "-": "removed"}.get(line[:1], "")
