"""Questions on a terminal, drawn by questionary: arrow keys in lists, Esc to go back, one line kept of each answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from mlflow_provision.console.text import clean
from mlflow_provision.wizard.asking import Back, Choice, Problem, anything
from mlflow_provision.wizard.keys import filling, leaving, paging
from mlflow_provision.wizard.listing import drawn, wrapped

if TYPE_CHECKING:
    from prompt_toolkit.application import Application
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.layout.processors import Processor

BACK = "\0back"
AROUND = 3  # lines of a screen that a list cannot have: the question, the line beneath, and one to breathe
STARS = "********"  # as many for every secret: its length is nobody's business

# Only what a terminal's own palette makes readable on light and on dark; never a colour alone says something.
STYLE = {
    "qmark": "fg:ansicyan bold",
    "question": "bold",
    "answer": "fg:ansicyan nobold",
    "pointer": "fg:ansicyan bold",
    "highlighted": "bold",
    "note": "dim",
    "unavailable": "dim",
    "problem": "fg:ansired",
    "hint": "dim",
}


class TerminalAsker:
    """An `Asker`. `asking` surrounds the time in which a person thinks: nothing else may draw then."""

    def __init__(self, asking: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._asking = asking

    def choose(self, question: str, choices: Sequence[Choice], default: str = "", flag: str = "") -> str:
        import questionary

        shown = [*choices, Choice(BACK, f"{_fancy('←', '<')} back")]
        usable = [choice.value for choice in shown if not choice.why_not]
        asked = questionary.select(
            clean(question),
            [questionary.Choice(clean(one.title), one.value, disabled=clean(one.why_not) or None) for one in shown],
            default=default if default in usable else usable[0],
            instruction=" ",  # the line beneath says it
            **_looks(),
        )
        _draw_list(asked.application, shown)
        hint = f"{_fancy('↑ ↓', 'Arrow keys')} move   Enter: choose   Esc: back"
        longer = len(shown) > asked.application.output.get_size().rows - AROUND
        _put_beneath(asked.application, "", hint + (f"   {len(choices)} choices" if longer else ""))
        value = str(self._run(asked.application))
        if value == BACK:
            raise Back
        _keep(question, next(choice.title for choice in choices if choice.value == value))
        return value

    def text(self, question: str, default: str = "", problem: Problem = anything, flag: str = "") -> str:
        typed, told = "", ""
        hint = "Enter: take this   Tab: change it   Esc: back" if default else "Enter: accept   Esc: back"
        while True:
            typed = " ".join(self._line(question, default, typed, told, hint).split("\n")).strip()
            told = problem(typed) or ""
            if not told:
                _keep(question, typed)
                return typed

    def secret(self, question: str, problem: Problem = anything, flag: str = "") -> str:
        told = ""
        while True:
            typed = self._line(question, "", "", told, "Enter: accept   Esc: back", [_hidden()]).rstrip("\r\n")
            told = problem(typed) or ""
            if not told:
                _keep(question, STARS if typed else "")
                return typed

    def confirm(self, question: str, default: bool, flag: str = "") -> bool:
        import questionary

        asked = questionary.confirm(clean(question), default, auto_enter=False, **_looks())
        _put_beneath(asked.application, "", "Y or N, then Enter   Esc: back")
        answer = bool(self._run(asked.application))
        _keep(question, "yes" if answer else "no")
        return answer

    def _line(
        self, question: str, default: str, typed: str, told: str, hint: str, processors: Sequence[Processor] = ()
    ) -> str:
        """What is typed on a line that begins with `typed`. `default` is shown, and taken, until it is made a text."""
        import questionary

        keys, offer = filling(default)
        asked = questionary.text(
            clean(question),
            typed,
            placeholder=lambda: [("class:note", clean(offer[0]))],
            input_processors=list(processors),
            key_bindings=keys,
            **_looks(),
        )
        _put_beneath(asked.application, told, hint)
        return str(self._run(asked.application)) or offer[0]

    def _run(self, application: Application[Any]) -> Any:
        """The result of a question; its drawing is gone afterwards."""
        from prompt_toolkit.key_binding import merge_key_bindings

        bindings = [leaving(), *([application.key_bindings] if application.key_bindings else [])]
        application.key_bindings = merge_key_bindings(bindings)
        # Esc is also how the codes of other keys begin: wait only as long as these may take.
        application.ttimeoutlen, application.timeoutlen = 0.05, 0.2
        with self._asking():
            sys.stdout.flush()
            return application.run()


def _looks() -> dict[str, Any]:
    from prompt_toolkit.output import create_output
    from prompt_toolkit.output.vt100 import Vt100_Output
    from prompt_toolkit.styles import Style

    output = create_output(sys.stdout)
    if isinstance(output, Vt100_Output):
        # Never ask the terminal where the cursor is: over a slow line its reply lands in the answer.
        output.enable_cpr = False
    return {"style": Style(list(STYLE.items())), "output": output, "erase_when_done": True}


def _draw_list(application: Application[Any], choices: Sequence[Choice]) -> None:
    """questionary keeps the pointer, and skips what cannot be chosen; the lines are ours."""
    from prompt_toolkit.key_binding import merge_key_bindings
    from questionary.prompts.common import InquirerControl

    windows = application.layout.find_all_windows()
    control = next(window.content for window in windows if isinstance(window.content, InquirerControl))

    def lines() -> StyleAndTextTuples:
        size = application.output.get_size()
        return list(drawn(choices, control.pointed_at, size.columns, size.rows - AROUND, _fancy("»", ">")))

    control.text = lines
    bindings = [*filter(None, [application.key_bindings]), paging(control, choices)]
    application.key_bindings = merge_key_bindings(bindings)


def _put_beneath(application: Application[Any], problem: str, hint: str) -> None:
    """What is wrong with the last answer, and which keys there are, under the question."""
    from prompt_toolkit.layout import HSplit, Layout, Window
    from prompt_toolkit.layout.controls import FormattedTextControl

    def lines() -> StyleAndTextTuples:
        width = application.output.get_size().columns - 3
        told = wrapped(clean(problem), width) if problem else []
        return [*(("class:problem", f"  {line}\n") for line in told), ("class:hint", f"  {hint}")]

    beneath = Window(FormattedTextControl(lines), wrap_lines=True)
    asked = application.layout
    application.layout = Layout(HSplit([asked.container, beneath]), focused_element=asked.current_window)


def _hidden() -> Processor:
    """Draws the same stars whatever was typed."""
    from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

    class Hidden(Processor):
        def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
            stars = STARS if transformation_input.document.text else ""
            return Transformation([("class:answer", stars)], lambda source: len(stars), lambda shown: 0)

    return Hidden()


def _keep(question: str, answer: str) -> None:
    """The one line that stays."""
    from prompt_toolkit import print_formatted_text
    from prompt_toolkit.formatted_text import FormattedText
    from prompt_toolkit.styles import Style

    said = ("class:answer", clean(answer)) if answer else ("class:note", "nothing")
    line = [("class:qmark", "? "), ("class:question", clean(question)), ("", "  "), said]
    print_formatted_text(FormattedText(line), style=Style(list(STYLE.items())), file=sys.stdout)


def _fancy(sign: str, plain: str) -> str:
    """The sign where the terminal's encoding has it."""
    return sign if "utf" in (sys.stdout.encoding or "").lower() else plain
