"""Nobody is asked: every question takes its recommended answer, and says which."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.wizard.asking import Choice, Problem, anything


class RecommendedAsker:
    """An `Asker` that tells `say` what it took. Without a usable recommendation it raises, and names the flag."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def choose(self, question: str, choices: Sequence[Choice], default: str = "", flag: str = "") -> str:
        chosen = next((choice for choice in choices if choice.value == default), None)
        if chosen is None:
            raise _unanswered(question, "has no recommended answer", flag)
        if chosen.why_not:
            raise _unanswered(question, f"cannot be {chosen.title}: {chosen.why_not}", flag)
        self._took(question, chosen.title)
        return chosen.value

    def text(self, question: str, default: str = "", problem: Problem = anything, flag: str = "") -> str:
        told = problem(default)
        if told:
            raise _unanswered(
                question, f"cannot be {default}: {told}" if default else "has no recommended answer", flag
            )
        self._took(question, default)
        return default

    def secret(self, question: str, problem: Problem = anything, flag: str = "") -> str:
        if problem(""):
            raise _unanswered(question, "has no recommended answer", flag)
        self._took(question, "")
        return ""

    def confirm(self, question: str, default: bool, flag: str = "") -> bool:
        self._took(question, "yes" if default else "no")
        return default

    def _took(self, question: str, answer: str) -> None:
        self._say(f"? {question}  {answer or 'nothing'}")


def _unanswered(question: str, why: str, flag: str) -> ProvisionError:
    return ProvisionError(f'"{question}" {why}', f"give it: {flag}" if flag else "", ExitCode.USAGE)
