"""The four ways a question is answered: a terminal, plain lines, the recommended answer. On real pseudo-terminals."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.wizard.asking import Choice
from mlflow_provision.wizard.listing import drawn
from mlflow_provision.wizard.recommended import RecommendedAsker
from tests.e2e.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from mlflow_provision.wizard.asking import Back, Choice
from mlflow_provision.wizard.{module} import {asker}
ask = {asker}()
try:
    print("ANSWER", {question})
except (Back, KeyboardInterrupt, EOFError) as left:
    print("LEFT", type(left).__name__)
"""
PLACES = [
    Choice("folder", "A folder on the host", "beside the database"),
    Choice("bucket", "An S3 bucket", "clients need no cloud keys, because artifacts pass through the server"),
    Choice("gone", "A stopped one", "not seen", "stopped: start it first"),
    Choice("other", "[bold]Other[/bold] \x1b[31m<b>%s</b>"),
]
LIST = f'ask.choose("Where do artifacts go?", {PLACES!r}, "bucket")'
NAME = 'ask.text("Name", "server", lambda name: "a name has no spaces" if " " in name else None)'
PASSWORD = 'ask.secret("Password", lambda typed: "too short" if 0 < len(typed) < 8 else None)'

Ask = Callable[..., Terminal]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Starts a program that asks one question on a terminal."""
    with ExitStack() as open_terminals:

        def start(question: str, columns: int = 80, rows: int = 24, plain: bool = False, **variables: str) -> Terminal:
            module, asker = ("plain", "PlainAsker") if plain else ("terminal", "TerminalAsker")
            program = PROGRAM.format(module=module, asker=asker, question=question)
            environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
            terminal = Terminal([sys.executable, "-c", program], environment, columns, rows)
            return open_terminals.enter_context(terminal)

        yield start


def told(terminal: Terminal, text: str) -> None:
    """The program went on with this."""
    terminal.waits_for(r"^(ANSWER|LEFT)")
    assert terminal.everything[-1] == text, str(terminal)


# ── on a terminal ──


def test_a_list_starts_at_the_recommended_choice(ask: Ask) -> None:
    terminal = ask(LIST)
    terminal.waits_for("back")
    assert terminal.screen[:9] == [
        "? Where do artifacts go?",
        "   A folder on the host  beside the database",
        " » An S3 bucket          clients need no cloud keys, because artifacts pass",
        "                         through the server",
        " - A stopped one         stopped: start it first",
        "   [bold]Other[/bold] <b>%s</b>",
        "   ← back",
        "  ↑ ↓ move   Enter: choose   Esc: back",
        "",
    ]
    terminal.press("enter")
    told(terminal, "ANSWER bucket")
    assert terminal.everything[-2] == "? Where do artifacts go?  An S3 bucket"
    assert len(terminal.everything) == 2  # nothing else stays
    assert "\x1b[6n" not in terminal.raw  # nor is the terminal asked what it would answer into the next question


def test_what_cannot_be_chosen_is_stepped_over(ask: Ask) -> None:
    terminal = ask(LIST)
    terminal.waits_for("back")
    terminal.press("down").waits_for(r"» \[bold\]Other")
    terminal.press("up", "up").waits_for("» A folder")
    terminal.press("enter")
    told(terminal, "ANSWER folder")


@pytest.mark.parametrize("question", [LIST, NAME, PASSWORD, 'ask.confirm("Sure?", True)'])
@pytest.mark.parametrize(("key", "left"), [("esc", "Back"), ("ctrl-c", "KeyboardInterrupt"), ("ctrl-d", "EOFError")])
def test_every_question_can_be_left(ask: Ask, question: str, key: str, left: str) -> None:
    terminal = ask(question)
    terminal.waits_for("Esc: back")
    terminal.press(key)
    told(terminal, f"LEFT {left}")
    assert len(terminal.everything) == 1


def test_the_last_line_of_a_list_goes_back(ask: Ask) -> None:
    terminal = ask(LIST)
    terminal.waits_for("back")
    terminal.press("up", "up", "enter")
    told(terminal, "LEFT Back")


def test_a_long_list_scrolls_in_a_small_window(ask: Ask) -> None:
    terminal = ask(
        'ask.choose("Which?", [Choice(f"i-{n}", f"i-{n:03}", "ip-10-0-0-1 running " * 8) for n in range(90)])', rows=12
    )
    terminal.waits_for("» i-000")
    terminal.press(*["down"] * 50)
    terminal.waits_for("» i-050")
    assert max(map(len, terminal.screen)) <= 80
    assert terminal.screen[0].startswith("? Which?") and "Esc: back" in terminal.screen[11]
    assert "90 choices" in terminal.screen[11]
    terminal.press("pagedown").waits_for("» i-060")
    terminal.press("end").waits_for("» ← back")
    terminal.press("home").waits_for("» i-000")
    terminal.press("pagedown", "enter")
    told(terminal, "ANSWER i-10")


def test_a_wrong_answer_stays_to_be_mended(ask: Ask) -> None:
    terminal = ask(NAME)
    terminal.waits_for(r"^\? Name server")
    terminal.types("my name").press("enter")
    terminal.waits_for("a name has no spaces")
    assert terminal.screen[:2] == ["? Name my name", "  a name has no spaces"]
    terminal.press(*["backspace"] * 5).types("-name").press("enter")
    told(terminal, "ANSWER my-name")
    assert terminal.everything == ["? Name  my-name", "ANSWER my-name"]


def test_enter_takes_the_default_and_tab_changes_it(ask: Ask) -> None:
    terminal = ask(NAME)
    terminal.waits_for(r"^\? Name server")
    terminal.press("enter")
    told(terminal, "ANSWER server")
    terminal = ask(NAME)
    terminal.waits_for(r"^\? Name server")
    terminal.press("tab").types("2").press("enter")
    told(terminal, "ANSWER server2")
    terminal = ask(NAME)
    terminal.waits_for(r"^\? Name server")
    terminal.press("tab", "ctrl-u", "enter")
    told(terminal, "ANSWER")


def test_what_is_typed_is_data(ask: Ask) -> None:
    terminal = ask('ask.text("Prefix %s [red]")')
    terminal.waits_for(r"\[red\]")
    terminal.types("  [bold]<ansired>%s\\x1b  ").press("enter")
    told(terminal, "ANSWER [bold]<ansired>%s\\x1b")


@pytest.mark.parametrize("plain", [False, True])
def test_a_secret_is_nowhere_on_the_screen(ask: Ask, plain: bool) -> None:
    terminal = ask(f"{PASSWORD} == 'canary-4711'", plain=plain)
    terminal.waits_for("Esc: back" if not plain else "Answer")
    terminal.types("can").press("enter").waits_for("too short")
    terminal.types("canary-4711").press("enter")
    told(terminal, "ANSWER True")
    assert "canary" not in terminal.raw and "4711" not in terminal.raw
    assert plain or terminal.everything[-2] == "? Password  ********"


def test_a_secret_may_be_nothing(ask: Ask) -> None:
    terminal = ask(PASSWORD)
    terminal.waits_for("Esc: back")
    terminal.press("enter")
    told(terminal, "ANSWER")


@pytest.mark.parametrize(("typed", "answer"), [("", True), ("n", False), ("no", False), ("yes", True)])
def test_yes_or_no(ask: Ask, typed: str, answer: bool) -> None:
    terminal = ask('ask.confirm("Sure?", True)')
    terminal.waits_for("Sure")
    terminal.types(typed).press("enter")
    told(terminal, f"ANSWER {answer}")
    assert terminal.everything[-2] == f"? Sure?  {'yes' if answer else 'no'}"


@pytest.mark.parametrize("question", [LIST, NAME, PASSWORD])
@pytest.mark.parametrize("columns", [20, 40, 200])
def test_any_width_will_do(ask: Ask, question: str, columns: int) -> None:
    terminal = ask(question, columns=columns, rows=10)
    terminal.waits_for(r"^\? ")
    terminal.resize(30, 10).press("enter")
    terminal.waits_for("^ANSWER")


def test_no_color_means_no_colour(ask: Ask) -> None:
    coloured = r"\x1b\[[0-9;]*\b(3[0-9]|4[0-9]|9[0-7])\b[0-9;]*m"
    for variables, expected in (({}, True), ({"NO_COLOR": "1"}, False)):
        terminal = ask(LIST, **variables)
        terminal.waits_for("back")
        terminal.press("enter")
        told(terminal, "ANSWER bucket")
        assert bool(re.search(coloured, terminal.raw)) is expected


def test_a_terminal_without_unicode_gets_ascii(ask: Ask) -> None:
    terminal = ask(LIST, PYTHONIOENCODING="ascii")
    terminal.waits_for("> An S3 bucket")
    assert "   < back" in terminal.screen
    terminal.press("enter")
    told(terminal, "ANSWER bucket")


# ── as plain lines ──


def test_plain_choices_are_numbered_lines(ask: Ask) -> None:
    terminal = ask(LIST, columns=120, plain=True)
    terminal.waits_for("Answer")
    assert terminal.everything == [
        "Where do artifacts go?",
        "  1) A folder on the host: beside the database",
        "  2) An S3 bucket: clients need no cloud keys, because artifacts pass through the server",
        "  A stopped one, not available: stopped: start it first",
        "  3) [bold]Other[/bold] <b>%s</b>",
        "(Enter takes the answer in brackets, < goes back, ? repeats the question.)",
        "Answer [2]:",
    ]
    for wrong in ("4", "0", "x", "-1"):
        terminal.types(f"{wrong}\n").waits_for("Not possible: type a number from 1 to 3", again=True)
    terminal.types("?\n").waits_for("Where do artifacts go", again=True)
    terminal.types("3\n")
    told(terminal, "ANSWER other")
    assert "\x1b" not in terminal.raw


@pytest.mark.parametrize(
    ("question", "typed", "answer"),
    [
        (LIST, "\n", "ANSWER bucket"),
        (LIST, "<\n", "LEFT Back"),
        (NAME, "\n", "ANSWER server"),
        (NAME, "a b\n  ab \n", "ANSWER ab"),
        (NAME, "<\n", "LEFT Back"),
        (NAME, "\x04", "LEFT EOFError"),
        (NAME, "\x03", "LEFT KeyboardInterrupt"),
        (PASSWORD, "<\n", "LEFT Back"),
        (PASSWORD, "\x04", "LEFT EOFError"),
        (PASSWORD, "\n", "ANSWER"),
        ('ask.confirm("Sure?", False)', "\n", "ANSWER False"),
        ('ask.confirm("Sure?", False)', "what\nYES\n", "ANSWER True"),
        ('ask.confirm("Sure?", False)', "<\n", "LEFT Back"),
    ],
)
def test_plain_answers(ask: Ask, question: str, typed: str, answer: str) -> None:
    terminal = ask(question, plain=True)
    terminal.waits_for("Answer")
    for line in typed.splitlines(keepends=True):
        terminal.types(line)
    told(terminal, answer)
    assert "\x1b" not in terminal.raw


# ── nobody is asked ──


def test_the_recommended_answers_are_told() -> None:
    said: list[str] = []
    ask = RecommendedAsker(said.append)
    assert ask.choose("Where?", PLACES, "folder") == "folder"
    assert ask.text("Name", "server") == "server"
    assert ask.confirm("Sure?", False) is False
    assert ask.secret("Password") == ""
    assert said == ["? Where?  A folder on the host", "? Name  server", "? Sure?  no", "? Password  nothing"]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (lambda ask: ask.choose("Where?", PLACES, "", "TARGET"), '"Where?" has no recommended answer'),
        (
            lambda ask: ask.choose("Where?", PLACES, "gone", "TARGET"),
            '"Where?" cannot be A stopped one: stopped: start',
        ),
        (lambda ask: ask.text("Name", "", lambda text: "empty", "TARGET"), '"Name" has no recommended answer'),
        (lambda ask: ask.text("Name", "a b", lambda text: "a space", "TARGET"), '"Name" cannot be a b: a space'),
        (lambda ask: ask.secret("Key", lambda text: "empty", "TARGET"), '"Key" has no recommended answer'),
    ],
)
def test_what_has_no_recommended_answer_names_its_flag(
    question: Callable[[RecommendedAsker], object], message: str
) -> None:
    with pytest.raises(ProvisionError) as refused:
        question(RecommendedAsker(print))
    assert refused.value.message.startswith(message)
    assert (refused.value.hint, refused.value.code) == ("give it: TARGET", ExitCode.USAGE)


# ── the lines of a list ──


@pytest.mark.parametrize("width", [10, 20, 40, 80, 200])
@pytest.mark.parametrize("rows", [1, 6, 50])
def test_no_line_of_a_list_is_wider_than_the_terminal(width: int, rows: int) -> None:
    text = "".join(text for _, text in drawn(PLACES, 1, width, rows, "»"))
    assert max(map(len, text.split("\n"))) <= max(width, 16)
    assert rows >= 6 or text.count("\n") == len(PLACES) - 1
