"""One question after the other, forwards and back; nothing is asked twice that was answered."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlflow_provision.config import Deployment, validate
from mlflow_provision.errors import ProvisionError
from mlflow_provision.wizard.answers import Answers
from mlflow_provision.wizard.asking import Asker, Back
from mlflow_provision.wizard.world import World

WIDTH = 78  # of prose: fits a terminal of 80 columns


class Leave(Exception):
    """The person wants everything to stay as it is."""


class Upgrade(Exception):
    """The person wants another MLflow for the server of this name, which is another command."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class AskAgain(Exception):
    """The question stays open, and others before it may be open again."""


class Say(Protocol):
    def __call__(self, text: str = "", style: str = "") -> None: ...


@dataclass
class Conversation:
    """What every question can use: whom to ask, what to say, the world outside, and the answers before it."""

    ask: Asker
    world: World
    say: Say
    answers: Answers
    questions: Sequence[Question] = ()  # all there are, in their order
    keep: Callable[[Answers], None] = lambda answers: None
    patient: bool = True  # False: nobody could answer better, so what goes wrong ends it
    facts: dict[str, Any] = field(default_factory=dict)
    looked_at: tuple[str, ...] = ()  # host, name and port that `facts` are about

    @property
    def deployment(self) -> Deployment:
        return self.answers.deployment

    def look(self) -> dict[str, Any]:
        """Facts about the host and the deployment as answered so far."""
        wanted = self.deployment
        about = (wanted.host, wanted.scope, wanted.identity_file, wanted.name, str(wanted.mlflow.port))
        if about != self.looked_at:
            self.facts = self.world.look(wanted)
            self.looked_at = about
        return self.facts

    def problem(self, **keys: Any) -> str | None:
        """What the rules of the deployment file say of these answers, without the path of the key."""
        trial = Answers(keys=dict(self.answers.keys), base=self.answers.base)
        trial.put(**keys)
        paths = [key.replace("__", ".") for key in keys]
        for told in validate(trial.deployment):
            path, _, text = told.partition(": ")
            if path.partition("[")[0] in paths:
                return text
        return None

    def explain(self, text: str) -> None:
        """What should be known before the first question of a section."""
        self.say()
        self.note(text)

    def note(self, text: str) -> None:
        """An explanation beside a question."""
        lines = textwrap.wrap(
            text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
        )
        self.say("\n".join(lines), "faint")


def always(talk: Conversation) -> bool:
    return True


@dataclass(frozen=True)
class Question:
    """One question, or one look at reality. `sets` are the keys that answer it when a flag gave them."""

    id: str
    ask: Callable[[Conversation], None]
    wanted: Callable[[Conversation], bool] = always
    sets: tuple[str, ...] = ()
    silent: bool = False  # only looks: nobody wants to come back to it

    @property
    def section(self) -> str:
        return self.id.partition(".")[0]

    def open(self, talk: Conversation) -> bool:
        """Is it still to be asked?"""
        return self.id not in talk.answers.done and self.wanted(talk)


def converse(talk: Conversation, again: Collection[str] = ()) -> None:
    """Ask what is open, in order; the ids in `again` even if they were answered. `Back` returns to the one before.

    What the world refuses is told, and asked again. Raises Leave, Upgrade, KeyboardInterrupt, EOFError.
    """
    talk.answers.done -= set(again)
    asked: list[Question] = []
    while (question := next((one for one in talk.questions if one.open(talk)), None)) is not None:
        try:
            question.ask(talk)
        except Back:
            _go_back(talk, asked)
            continue
        except AskAgain:
            continue
        except ProvisionError as error:
            if not talk.patient:
                raise
            trouble(talk, error)
            continue
        talk.answers.done.add(question.id)
        asked.append(question)
        talk.keep(talk.answers)


def _go_back(talk: Conversation, asked: list[Question]) -> None:
    """Open the last question that a person answered, and what was looked at since."""
    while asked:
        last = asked.pop()
        talk.answers.done.discard(last.id)
        if not last.silent:
            return


def trouble(talk: Conversation, error: ProvisionError) -> None:
    """Something that the world refused, told so that the next answer can be better."""
    for line in error.message.splitlines():
        talk.say(textwrap.fill(line, WIDTH), "bad")
    for line in error.hint.splitlines():  # often a command: not to be broken
        talk.say(f"  {line}", "faint")


def given(answers: Answers, questions: Sequence[Question]) -> None:
    """Count as answered what flags have set."""
    for question in questions:
        if question.sets and question.sets[0] in answers.keys:
            answers.done.add(question.id)
