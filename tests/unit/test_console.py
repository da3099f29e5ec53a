"""What is printed: on a terminal, in a pipe, for a program; and that data can steer none of them."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Iterator

import pytest

from mlflow_provision.agent.protocol import CHANGED, FAILED, OK, SKIPPED, Done, Event, Output, Progress, Result, Start
from mlflow_provision.console import Console
from mlflow_provision.console.errors import show_error
from mlflow_provision.console.measure import Measure
from mlflow_provision.console.screen import Plain, StepsOnly
from mlflow_provision.console.terminal import Terminal
from mlflow_provision.console.text import clean, duration, elapsed, plural, size
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.schema import Document

EVIL = "[/red] [bold]x[/bold] :smile: \x1b[31mred\x1b[0m \x1b]0;title\x07 \r\x08back \u202eflipped"
EVENTS: list[Event] = [
    Start("uv", "uv 0.13.8"),
    Output("uv", "downloading " + "x" * 200),
    Result("uv", "uv 0.13.8", CHANGED, 1.24, "download, check the sha256, install"),
    Result("root", "/opt/mlflow/", OK),
    Result("store", "store", SKIPPED, 0, "because this failed: x"),
    Result("service", "mlflow-server.service", FAILED, 12.0, "the server started and died:\n" + "ImportError " * 30),
    Done({"changes": 2}),
]


class Stream(io.StringIO):
    """A terminal of 80 columns that remembers."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """What is left on the screen, without escapes."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue()).replace("\r", "\n").split("\n")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Stream:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Stream()


def test_plain_is_one_line_for_each_step() -> None:
    stream = io.StringIO()
    console = Console(Document("setup"), Plain(stream))
    results = console.steps(iter(EVENTS))
    assert len(results) == 4
    assert stream.getvalue() == (
        "changed uv 0.13.8  download, check the sha256, install  1.2s\nFAILED  mlflow-server.service  12s\n"
    )
    stream.truncate(0)
    stream.seek(0)
    console.verdicts([Result("a", "is healthy", OK, 0.4, "http://x"), Result("b", "starts", SKIPPED, 0, "no unit")])
    assert stream.getvalue() == "ok      is healthy  http://x  0.4s\nskipped starts  no unit\n"


def test_the_error_after_the_last_event_is_not_lost() -> None:
    def events() -> Iterator[Event]:
        yield Done({}, {"message": "x", "hint": "", "kind": "failed"})
        raise ProvisionError("x")

    with pytest.raises(ProvisionError):
        Console(Document("setup"), Plain(io.StringIO())).steps(events())


def test_a_terminal_of_80_columns_is_never_overrun(terminal: Stream) -> None:
    console = Console(Document("setup"), Terminal(terminal))
    console.steps(iter(EVENTS))
    console.verdicts(iter(EVENTS))
    lines = [line.rstrip() for line in terminal.lines]
    assert "✓ uv 0.13.8  download, check the sha256, install  1.2s" in lines
    assert "- store  because this failed: x" in lines
    assert "✗ mlflow-server.service  12s" in lines
    assert max(map(len, lines)) <= 80


def test_the_running_step_shows_seconds_and_the_newest_line(terminal: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal(terminal)
    now = time.monotonic()
    monkeypatch.setattr("mlflow_provision.console.terminal.time.monotonic", lambda: now)
    screen.begin("release [/red]")
    screen.progress("Downloading numpy " + "x" * 100)
    monkeypatch.setattr("mlflow_provision.console.terminal.time.monotonic", lambda: now + 12.7)
    time.sleep(0.25)
    screen.rest()
    moving = [line for line in terminal.lines if "12s" in line]
    assert moving and "release [/red]  12s  Downloading numpy" in moving[0]
    assert max(len(line) for line in moving) <= 80


def measured(*updates: tuple[float, int, int]) -> Measure:
    measure = Measure()
    for now, done, total in updates:
        measure.update(done, total, now)
    return measure


class TestMeasure:
    def test_size_rate_and_time_left(self) -> None:
        measure = measured((100.0, 0, 260_000_000), (104.0, 120_000_000, 260_000_000))
        assert measure.words(104.0) == "120 MB of 260 MB, 30 MB/s, 5s left"
        assert measure.bar(13, fancy=True) == ("━" * 6, "╌" * 7)
        assert measure.bar(13, fancy=False) == ("######", "-------")

    def test_nobody_knows_the_total(self) -> None:
        measure = measured((100.0, 0, 0), (102.0, 50_000_000, 0))
        assert measure.words(102.0) == "50 MB, 25 MB/s" and measure.bar(20, fancy=True) == ("", "")

    def test_the_rate_is_that_of_late(self) -> None:
        fast_then_slow = [(float(second), 100 * second, 10_000) for second in range(60)]
        fast_then_slow += [(60.0 + second, 6000 + second, 10_000) for second in range(30)]
        assert measured(*fast_then_slow).rate(89.0) < 2

    def test_what_stands_still_gets_slower(self) -> None:
        measure = measured((100.0, 0, 1000), (101.0, 100, 1000))
        assert measure.rate(101.0) == 100 and measure.rate(150.0) == 2
        assert measured((100.0, 10, 1000)).left(100.0) is None
        assert measured((0.0, 0, 10**15), (1.0, 1, 10**15)).left(1.0) is None  # a number nobody could use

    def test_more_than_was_said_and_a_new_beginning(self) -> None:
        measure = measured((100.0, 0, 100), (101.0, 150, 100))
        assert measure.bar(10, fancy=False) == ("##########", "") and measure.left(101.0) is None
        measure.update(10, 100, 102.0)
        assert measure.rate(102.0) == 0.0


@pytest.mark.parametrize("columns", [30, 50, 80, 200])
def test_a_step_of_many_bytes_has_a_bar_that_fits(
    terminal: Stream, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    screen = Terminal(terminal)
    screen.begin("tracking database")
    screen.measure(0, 260_000_000)
    screen.measure(120_000_000, 260_000_000)
    time.sleep(0.25)
    screen.rest()
    moving = [line.rstrip() for line in terminal.lines if "tracking database" in line]
    assert max(map(len, moving)) < columns
    if columns >= 80:
        assert "━" in moving[-1] and "120 MB of 260 MB" in moving[-1]
    if columns == 50:
        assert "━" not in moving[-1] and "120 MB of 260" in moving[-1]


def test_the_next_step_has_a_bar_of_its_own(terminal: Stream) -> None:
    screen = Terminal(terminal)
    screen.begin("first")
    screen.measure(5_000_000, 10_000_000)
    screen.begin("second")
    time.sleep(0.25)
    screen.rest()
    assert [line for line in terminal.lines if "second" in line and "MB" in line] == []


def test_bytes_move_nothing_in_a_pipe() -> None:
    for wrapped in (lambda plain: plain, StepsOnly):
        stream = io.StringIO()
        Console(Document("backup now"), wrapped(Plain(stream))).steps(
            [Start("db", "tracking database"), Progress("db", 10, 20), Result("db", "tracking database", CHANGED, 2.0)]
        )
        assert stream.getvalue() == "changed tracking database  2.0s\n"


def test_data_steer_nothing(terminal: Stream) -> None:
    for screen in (Terminal(terminal), Plain(terminal)):
        console = Console(Document("setup"), screen)
        console.say(EVIL)
        console.diff("+" + EVIL)
        console.table(["A"], [[EVIL]])
        console.steps([Start("x", EVIL), Output("x", EVIL), Result("x", EVIL, CHANGED, 0, EVIL)])
        console.verdicts([Result("x", EVIL, FAILED, 0, EVIL)])
        screen.change(EVIL, EVIL)
        console.note(EVIL * 5)
    text = terminal.getvalue()
    assert "[/red] [bold]x[/bold] :smile: red" in text
    assert "\x1b]0;" not in text and "\x08" not in text and "\u202e" not in text and "\x1b[31mred" not in text


def test_a_step_ends_where_the_screen_may_move_again(terminal: Stream) -> None:
    console = Console(Document("setup"), Terminal(terminal))
    before = set(threading.enumerate())  # one of an earlier test may be about to end
    with pytest.raises(KeyboardInterrupt), console.busy("Connecting"):
        raise KeyboardInterrupt
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) - before == set()


def test_colours_obey_no_color(terminal: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    Console(Document("plan"), Terminal(terminal)).diff("--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y")
    assert "\x1b[32m    +y" in terminal.getvalue() and "\x1b[31m    -x" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    bare = Stream()
    Console(Document("plan"), Terminal(bare)).diff("-x\n+y")
    assert not re.search(r"\x1b\[3\d", bare.getvalue())


@pytest.mark.parametrize(("plain", "term"), [(True, "xterm-256color"), (False, "dumb")])
def test_a_plain_console_never_steers_the_terminal(
    terminal: Stream, monkeypatch: pytest.MonkeyPatch, plain: bool, term: str
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    console = Console.of_command("setup", plain=plain)
    console.say("strong", "strong")
    console.steps(iter(EVENTS))
    with console.busy("Connecting"):
        time.sleep(0.15)
    console.diff("-x\n+y")
    console.error(ProvisionError("it ended", "do this"))
    assert console.plain
    assert "\x1b" not in terminal.getvalue() and "\r" not in terminal.getvalue()
    assert "Error: it ended\n  Next: do this\n" in terminal.getvalue()


def test_a_terminal_without_unicode_gets_ascii_marks(terminal: Stream) -> None:
    stream = Stream("latin-1")
    Console(Document("verify"), Terminal(stream)).verdicts(
        [Result("a", "is healthy", OK), Result("b", "starts", FAILED)]
    )
    assert stream.lines[:2] == ["* is healthy", "x starts"]


def test_long_changes_take_a_second_line(terminal: Stream) -> None:
    screen = Terminal(terminal)
    screen.change("/etc/systemd/system/mlflow-server.service", "update")
    screen.change("/opt/mlflow/server/etc/secrets.env", "generate MLFLOW_FLASK_SERVER_SECRET_KEY and others")
    assert [line.rstrip() for line in terminal.lines][:3] == [
        "  * /etc/systemd/system/mlflow-server.service  update",
        "  * /opt/mlflow/server/etc/secrets.env",
        "      generate MLFLOW_FLASK_SERVER_SECRET_KEY and others",
    ]


def test_below_home_is_shown_with_a_tilde() -> None:
    stream = io.StringIO()
    console = Console(Document("setup"), Plain(stream))
    console.home = "/home/ana"
    console.steps(
        [Result("x", "/home/ana/mlflow/a → /home/ana/mlflow/b", CHANGED), Result("y", "/home/anabel/", CHANGED)]
    )
    assert stream.getvalue() == "changed ~/mlflow/a → ~/mlflow/b\nchanged /home/anabel/\n"


def test_beside_a_document_only_steps_are_shown() -> None:
    stream = io.StringIO()
    console = Console(Document("setup"), StepsOnly(Plain(stream)))
    console.say("prose")
    console.table(["A"], [["b"]])
    console.steps(iter(EVENTS))
    assert stream.getvalue().startswith("changed uv") and "prose" not in stream.getvalue()


def test_the_document_keeps_what_the_screen_shortens(capsys: pytest.CaptureFixture[str]) -> None:
    document = Document("setup", "server")
    console = Console(document, Plain(io.StringIO()), as_json=True)
    console.steps(iter(EVENTS))
    console.error(ProvisionError("it ended", "do this", ExitCode.LOCKED))
    console.finish(ExitCode.LOCKED)
    data = document.as_json()
    assert data["steps"][-1]["summary"].startswith("the server started and died:\nImportError")
    assert data["error"] == {"message": "it ended", "hint": "do this", "code": 5}
    assert (data["ok"], data["exit_code"]) == (False, 5)
    assert capsys.readouterr().out.startswith("{")


def test_errors_in_a_pipe_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    show_error("a " * 60 + "\x1b[31mend\nsecond line", "type this:\nmlflow-provision list")
    assert capsys.readouterr().err == (
        "Error: " + "a " * 60 + "end\n  second line\n  Next: type this:\n        mlflow-provision list\n"
    )


def test_errors_on_a_terminal_are_wrapped_and_red(terminal: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    show_error("word " * 30)
    assert "\x1b[31m" in terminal.getvalue()
    assert max(len(line) for line in terminal.lines) <= 80 and terminal.lines[1].startswith("  word")
    monkeypatch.setenv("NO_COLOR", "1")
    bare = Stream()
    monkeypatch.setattr("sys.stderr", bare)
    show_error("word")
    assert bare.getvalue() == "Error: word\n"


def test_a_page_without_a_break_is_no_wall(terminal: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stderr", terminal)
    show_error("the server died:\n" + "x" * 9000 + "\n" + "word " * 30 + "\nImportError: no", "do this")
    Console(Document("verify"), Terminal(terminal)).verdicts([Result("a", "is healthy", FAILED, 0, "y" * 9000)])
    text = terminal.getvalue()
    assert "  xxx" in text and "  word" in text and "\n  ImportError: no\n" in text and "    yyy" in text
    assert len(text) < 800
    assert max(len(line.rstrip()) for line in terminal.lines if "x" not in line) <= 80


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.01, ""),
        (0.4, "0.4s"),
        (9.9, "9.9s"),
        (9.96, "10s"),
        (59, "59s"),
        (59.7, "1m 00s"),
        (125, "2m 05s"),
        (4800, "1h 20m"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (12.9, "12 s"), (7500, "2 h 5 min"), (93784, "1 d 2 h"), (-5, "0 s")]
)
def test_elapsed(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(12, "12 B"), (430_000_000, "430 MB"), (2_100_000_000, "2.1 GB")])
def test_size(count: int, text: str) -> None:
    assert size(count) == text


def test_plural_and_clean() -> None:
    assert (plural(1, "change"), plural(2, "change")) == ("1 change", "2 changes")
    assert clean("a\tb\x00\x9b31m\x1b[2Jc") == "a   b31mc"


def test_a_command_in_a_hint_stays_in_one_piece(terminal: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stderr", terminal)
    command = "mlflow-provision setup ubuntu@ec2-203-0-113-7.us-west-1.compute.amazonaws.com --port 5001"
    show_error("x", f"choose another port: {command}\n{command}\n" + "only words " * 12)
    assert terminal.lines[1:4] == ["  Next: choose another port:", "        " + command, "        " + command]
    assert max(len(line) for line in terminal.lines[4:]) <= 80


def test_the_time_a_person_takes_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("mlflow_provision.console.time.monotonic", lambda: now[0])
    console = Console(Document("setup"), Plain(io.StringIO()))
    now[0] += 2
    with pytest.raises(KeyboardInterrupt), console.question():
        now[0] += 600
        raise KeyboardInterrupt
    assert console.seconds == 2


class TestPicture:
    """A screen that is drawn anew, for `status --watch`."""

    def draw(self, screen: Console, *lines: str) -> None:
        with screen.frame():
            for line in lines:
                screen.say(line)

    def test_on_a_terminal_it_takes_the_place_of_the_last_one(self, terminal: Stream) -> None:
        console = Console(Document("status"), Terminal(terminal))
        with console.whole_screen():
            self.draw(console, "one", "two")
            self.draw(console, "three")
        said = terminal.getvalue()
        assert said.startswith("\x1b[?1049h") and said.count("\x1b[H") >= 2
        assert "three\x1b[K\r\n\x1b[J" in said
        # The last picture stays when the terminal is as it was.
        assert said.endswith("\x1b[?1049lthree\n")

    def test_one_that_is_higher_than_the_terminal_does_not_scroll(self, terminal: Stream) -> None:
        screen = Terminal(terminal)
        console = Console(Document("status"), screen)
        self.draw(console, *[f"line {number}" for number in range(200)])
        assert terminal.getvalue().count("\r\n") == screen._console.height - 1

    def test_an_error_leaves_the_terminal_as_it_was(self, terminal: Stream) -> None:
        console = Console(Document("status"), Terminal(terminal))
        with pytest.raises(KeyboardInterrupt), console.whole_screen():
            raise KeyboardInterrupt
        assert "\x1b[?1049l" in terminal.getvalue() and "\x1b[?25h" in terminal.getvalue()

    def test_in_a_pipe_they_stand_below_each_other(self) -> None:
        stream = io.StringIO()
        console = Console(Document("status"), Plain(stream))
        with console.whole_screen():
            self.draw(console, "one")
            self.draw(console, "two")
        assert stream.getvalue() == "one\n\ntwo\n\n"
