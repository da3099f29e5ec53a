"""Questions as plain lines: for screen readers, and for terminals where nothing can move."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from mlflow_provision.console.text import clean
from mlflow_provision.wizard.asking import Back, Choice, Problem, anything

BACK, AGAIN = "<", "?"


class PlainAsker:
    """An `Asker`. `asking` surrounds the time in which a person thinks."""

    def __init__(self, asking: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._asking = asking
        self._explained = False

    def choose(self, question: str, choices: Sequence[Choice], default: str = "", flag: str = "") -> str:
        usable = [choice for choice in choices if not choice.why_not]
        preset = next((str(number) for number, one in enumerate(usable, 1) if one.value == default), "")

        def show() -> None:
            _say(question)
            for choice in choices:
                _say(_numbered(choice, usable))

        def problem(answer: str) -> str | None:
            if answer.isdecimal() and 1 <= int(answer) <= len(usable):
                return None
            return f"type a number from 1 to {len(usable)}" if usable else f"nothing can be chosen: {BACK} goes back"

        return usable[int(self._answer(show, "Answer", preset, problem)) - 1].value

    def text(self, question: str, default: str = "", problem: Problem = anything, flag: str = "") -> str:
        return self._answer(lambda: _say(question), "Answer", default, problem)

    def secret(self, question: str, problem: Problem = anything, flag: str = "") -> str:
        def hidden(prompt: str) -> str:
            return getpass.getpass(prompt, sys.stdout)

        return self._answer(lambda: _say(question), "Answer (not shown)", "", problem, hidden)

    def confirm(self, question: str, default: bool, flag: str = "") -> bool:
        def problem(answer: str) -> str | None:
            return None if answer.lower() in ("y", "yes", "n", "no") else "type yes or no"

        answer = self._answer(lambda: _say(question), "Answer, yes or no", "yes" if default else "no", problem)
        return answer.lower().startswith("y")

    def _answer(
        self,
        show: Callable[[], None],
        prompt: str,
        default: str,
        problem: Problem,
        read: Callable[[str], str] | None = None,
    ) -> str:
        """What is typed at last. The question is shown once, and again when that is asked for."""
        with self._asking():
            show()
            self._explain()
            while True:
                try:
                    typed = (read or _typed)(f"{prompt} [{clean(default)}]: " if default else f"{prompt}: ")
                except (KeyboardInterrupt, EOFError):
                    _say("")  # whatever is said next begins on a line of its own
                    raise
                answer = typed if read else typed.strip()
                if answer == BACK:
                    raise Back
                if answer == AGAIN:
                    show()
                    continue
                told = problem(answer or default)
                if not told:
                    return answer or default
                _say(f"Not possible: {told}")

    def _explain(self) -> None:
        """How to go back is said once."""
        if not self._explained:
            _say(f"(Enter takes the answer in brackets, {BACK} goes back, {AGAIN} repeats the question.)")
        self._explained = True


def _numbered(choice: Choice, usable: Sequence[Choice]) -> str:
    if choice.why_not:
        return f"  {choice.title}, not available: {choice.why_not}"
    return f"  {usable.index(choice) + 1}) {choice.title}" + (f": {choice.note}" if choice.note else "")


def _say(text: str) -> None:
    print(clean(text), flush=True)


def _typed(prompt: str) -> str:
    """A line from the terminal itself. Not `input`: it lets readline move the cursor."""
    print(prompt, end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
