"""The summary of all answers with the plan below it, until a person has decided."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlflow_provision.agent.protocol import CHANGED, Result
from mlflow_provision.cli.planned import pending_unasked
from mlflow_provision.cli.target import Wanted, checked
from mlflow_provision.console.text import plural
from mlflow_provision.errors import ProvisionError
from mlflow_provision.wizard.conversation import WIDTH

if TYPE_CHECKING:
    from mlflow_provision.adoption import Adoption
    from mlflow_provision.console import Console
    from mlflow_provision.provision import Prepared
    from mlflow_provision.wizard.asking import Asker
    from mlflow_provision.wizard.conversation import Conversation
    from mlflow_provision.wizard.reality import Reality

APPLY, SAVE, NO = "apply", "save", "no"
CHANGE, DETAILS = "change", "details"
FEW = 3  # paths that are worth naming


@dataclass(frozen=True)
class Manner:
    """How the questions are to be answered, and what is to happen afterwards."""

    defaults: bool = False  # take the recommended answers
    resume: bool = False
    yes: bool = False
    save_only: bool = False
    accept_new_host_key: bool = False
    artifacts_moved: bool = False


@dataclass(frozen=True)
class Plan:
    """What follows from the answers."""

    want: Wanted
    prepared: Prepared
    pending: list[Result]
    checks: Sequence[Result] = ()  # where nothing is pending: a quick look at the server
    adoption: Adoption | None = None


@dataclass(frozen=True)
class Decision:
    """What is to be done: `kind` is APPLY, SAVE or NO. Without a plan something stands in the way of one."""

    kind: str
    plan: Plan | None = None


def decided(
    console: Console, talk: Conversation, reality: Reality, manner: Manner, person: Callable[[], Asker]
) -> Decision:
    """Show it all, again after every answer that is changed. `person` answers even where the defaults were taken."""
    from mlflow_provision.wizard.conversation import converse, trouble

    in_full = False
    while True:
        _say_summary(console, talk)
        plan: Plan | None = None
        try:
            plan = (_adoption if talk.answers.adopt else _planned)(console, talk, reality, manner)
            _say_pending(console, plan.pending, in_full)
        except ProvisionError as error:
            if not talk.patient:
                raise
            trouble(talk, error)
        kind = _chosen(console, manner, person, plan, in_full)
        if kind == DETAILS:
            in_full = True
        elif kind == CHANGE:
            if (section := _section(talk)) is not None:
                converse(talk, {one.id for one in talk.questions if one.section == section})
        else:
            return Decision(kind, plan)


def wanted_by(talk: Conversation) -> Wanted:
    """The answers as a deployment that can be built."""
    from mlflow_provision.config import deployment_path

    deployment = checked(talk.deployment)
    return Wanted(deployment, deployment_path(deployment.name), secrets=talk.answers.secrets)


def _planned(console: Console, talk: Conversation, reality: Reality, manner: Manner) -> Plan:
    from mlflow_provision.cli.setup import prepared_for
    from mlflow_provision.provision import checks, plan_or_look

    want = wanted_by(talk)
    prepared = prepared_for(console, reality.host, want, manner.artifacts_moved)
    console.home = prepared.facts["home"] if want.deployment.scope == "user" else ""
    with console.busy("Comparing"):
        results = console.steps(plan_or_look(reality.host, prepared), shown=())
    return Plan(want, prepared, _pending(console, results), checks(console.answer))


def _adoption(console: Console, talk: Conversation, reality: Reality, manner: Manner) -> Plan:
    """The same with the data of an old server."""
    from mlflow_provision.cli.adopting import adoption_for, planned, say_old_server
    from mlflow_provision.preflight import warnings

    want, adoption = adoption_for(console, reality.host, wanted_by(talk), talk.answers.keys)
    say_old_server(console, adoption)
    for note in [*adoption.notes, *warnings(want.deployment)]:
        console.note(note)
    results = planned(console, reality.host, adoption)
    return Plan(want, adoption.prepared, _pending(console, results), adoption=adoption)


def _pending(console: Console, results: Sequence[Result]) -> list[Result]:
    pending = [result for result in results if result.verdict == CHANGED]
    console.document.changes = len(pending)
    return pending


def _say_summary(console: Console, talk: Conversation) -> None:
    from mlflow_provision.wizard.summary import lines

    console.say()
    console.say("Summary", "strong")
    for line in lines(talk):
        label = f"  {line.label:<12} "
        console.say(textwrap.fill(line.text, WIDTH, initial_indent=label, subsequent_indent=" " * len(label)))


def _say_pending(console: Console, pending: list[Result], in_full: bool) -> None:
    """The plan: short enough for the same screen, or with its diffs."""
    console.say()
    if not pending:
        console.say("Plan: nothing to change.", "strong")
    elif in_full:
        console.say(f"Plan: {plural(len(pending), 'change')}", "strong")
        for result in pending:
            console.change(result)
            console.diff(result.diff)
    else:
        console.say(f"Plan: {plural(len(pending), 'change')}", "strong")
        titles = ", ".join(_in_brief([console.shortened(result.title) for result in pending]))
        console.say(textwrap.fill(titles, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))
    console.say()


def _in_brief(titles: list[str]) -> list[str]:
    """What changes, with many paths as a number of folders and files."""
    paths = [title for title in titles if title.startswith(("/", "~"))]
    if len(paths) <= FEW:
        return titles
    folders = sum(path.endswith("/") for path in paths)
    counted = [plural(folders, "folder"), plural(len(paths) - folders, "file")]
    return [
        *(title for title in titles if title not in paths),
        *(text for text in counted if not text.startswith("0 ")),
    ]


def _chosen(console: Console, manner: Manner, person: Callable[[], Asker], plan: Plan | None, in_full: bool) -> str:
    from mlflow_provision.wizard.asking import Back, Choice

    if manner.save_only:
        return SAVE
    if manner.yes and plan:
        return APPLY
    changes = len(plan.pending) if plan else 0
    if not console.asks:
        raise pending_unasked(changes)
    choices = [Choice(APPLY, "Yes, set it up" if changes else "Yes, it is as it should be")] if plan else []
    choices.append(Choice(CHANGE, "Change an answer"))
    if changes and not in_full:
        choices.append(Choice(DETAILS, "Show the plan in full"))
    choices += [Choice(SAVE, "Save the deployment file only"), Choice(NO, "No, leave everything as it is")]
    try:
        return person().choose("Is this right?", choices, choices[0].value, "--yes or --save-only")
    except Back:
        return CHANGE


def _section(talk: Conversation) -> str | None:
    from mlflow_provision.wizard.asking import Back, Choice
    from mlflow_provision.wizard.summary import lines

    choices = [Choice(line.section, line.label, line.text) for line in lines(talk) if line.section]
    try:
        return talk.ask.choose("Which one?", choices, choices[0].value)
    except Back:
        return None
