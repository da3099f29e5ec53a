"""`setup` with nothing else, on a terminal: the wizard, its summary, and what is done about it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.agent.protocol import CHANGED, Result
from mlflow_provision.cli.command import again
from mlflow_provision.cli.connection import questions
from mlflow_provision.cli.target import Wanted, checked, wanted
from mlflow_provision.console.text import plural
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.wizard.conversation import WIDTH

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.provision import Prepared
    from mlflow_provision.wizard.answers import Answers
    from mlflow_provision.wizard.asking import Asker
    from mlflow_provision.wizard.conversation import Conversation
    from mlflow_provision.wizard.reality import Reality

APPLY, CHANGE, DETAILS, SAVE, NO = "apply", "change", "details", "save", "no"
FEW = 3  # paths that are worth naming
RESUME = "mlflow-provision setup --resume"


@dataclass(frozen=True)
class Manner:
    """How the questions are to be answered, and what is to happen afterwards."""

    defaults: bool = False  # take the recommended answers
    resume: bool = False
    yes: bool = False
    save_only: bool = False
    accept_new_host_key: bool = False
    artifacts_moved: bool = False


def guided(
    console: Console, target: str | None, name: str | None, keys: Mapping[str, Any], manner: Manner
) -> ExitCode | None:
    """Ask what is not known yet, show it all, and do what the person then decides."""
    from mlflow_provision.host import connect
    from mlflow_provision.wizard.answers import keep
    from mlflow_provision.wizard.conversation import Conversation, Leave, converse
    from mlflow_provision.wizard.order import QUESTIONS
    from mlflow_provision.wizard.reality import Reality

    if not console.asks and not (manner.defaults and target):
        raise nobody_to_ask(target, keys)
    answers = _answers(console, target, name, keys, manner)
    ask_person = questions(console)
    reality = Reality(lambda it: connect(it, ask_person, manner.accept_new_host_key), console.busy)
    talk = Conversation(
        _asker(console, manner),
        reality,
        console.say,
        answers,
        QUESTIONS,
        keep if console.asks else _nowhere,
        patient=not manner.defaults,
    )
    try:
        converse(talk)
        return _decide(console, talk, reality, manner)
    except Leave:
        console.say("Everything stays as it is.")
        return None
    except (KeyboardInterrupt, EOFError, click.Abort):
        raise _interrupted(console) from None
    finally:
        reality.close()


def nobody_to_ask(target: str | None, keys: Mapping[str, Any]) -> ProvisionError:
    """Without a terminal no question waits for an answer: this says what would have been asked."""
    missing = [] if target else ["TARGET (local, user@host, or a deployment), or --config FILE"]
    if str(keys.get("artifacts.destination", "")).startswith("s3://") and "artifacts.credentials" not in keys:
        missing.append("one of --instance-role, --aws-profile PROFILE, --aws-keys")
    return ProvisionError(
        f"there is no terminal to ask on, and this is missing: {'; '.join(missing) or '--defaults or --yes'}",
        "mlflow-provision setup user@host --yes\n"
        "what is not said has its default; all that can be said: mlflow-provision setup --help",
        ExitCode.USAGE,
    )


def _answers(
    console: Console, target: str | None, name: str | None, keys: Mapping[str, Any], manner: Manner
) -> Answers:
    """The answers that are there before the first question: those of flags, or those of an interrupted setup."""
    from mlflow_provision.wizard.answers import Answers, kept, kept_path
    from mlflow_provision.wizard.conversation import given
    from mlflow_provision.wizard.order import QUESTIONS
    from mlflow_provision.wizard.questions.where import LOCAL, local_scope

    if manner.resume:
        answers = kept()
        # Secrets were not kept, and the host may have changed: these are asked and looked at again.
        answers.done -= {question.id for question in QUESTIONS if question.silent}
        answers.done -= {"login.password", "credentials.keys"}
        answers.keys |= keys
        console.say("Your answers so far are kept; this goes on where you stopped.", "faint")
    else:
        answers = Answers(keys=dict(keys))
        if not target and not manner.defaults and kept_path().exists():
            console.say(f"(An interrupted setup is kept: {RESUME} goes on with it.)", "faint")
    if target:
        known = wanted(target, name, None, {})
        if known.path.exists():
            answers.base = known.deployment
        answers.put(host=known.deployment.host, name=known.deployment.name, scope=known.deployment.scope)
    elif name:
        answers.put(name=name)
    if answers.host == LOCAL:
        answers.keys.setdefault("scope", local_scope())
    given(answers, QUESTIONS)
    return answers


def _asker(console: Console, manner: Manner) -> Asker:
    if manner.defaults:
        from mlflow_provision.wizard.recommended import RecommendedAsker

        return RecommendedAsker(console.say)
    if console.plain:
        from mlflow_provision.wizard.plain import PlainAsker

        return PlainAsker(console.question)
    from mlflow_provision.wizard.terminal import TerminalAsker

    return TerminalAsker(console.question)


def _decide(console: Console, talk: Conversation, reality: Reality, manner: Manner) -> ExitCode | None:
    """The summary with the plan below it, until the person has decided."""
    from mlflow_provision.wizard.conversation import converse, trouble
    from mlflow_provision.wizard.order import QUESTIONS

    if talk.answers.adopt:
        return _adopt(console, talk, reality, manner)
    shown_in_full = False
    while True:
        _say_summary(console, talk)
        want = _want(talk)
        try:
            prepared, pending, checks = _planned(console, reality, want, manner)
        except ProvisionError as error:
            if not talk.patient:
                raise
            trouble(talk, error)
            prepared, pending, checks = None, [], []
        else:
            _say_pending(console, pending, shown_in_full)
        decision = _decision(console, talk, manner, prepared is not None, len(pending), shown_in_full)
        if decision == DETAILS:
            shown_in_full = True
        elif decision == CHANGE:
            if (section := _section(console, talk)) is not None:
                converse(talk, {one.id for one in QUESTIONS if one.section == section})
        elif decision == SAVE:
            _save(console, want, prepared)
            return None
        elif decision == NO or prepared is None:
            console.say(f"Nothing was changed. Your answers are kept: {RESUME}")
            return ExitCode.FAILED
        else:
            _carry_out(console, reality, want, prepared, len(pending), checks)
            return None


def _want(talk: Conversation) -> Wanted:
    from mlflow_provision.config import deployment_path

    deployment = checked(talk.deployment)
    return Wanted(deployment, deployment_path(deployment.name), secrets=talk.answers.secrets)


def _planned(
    console: Console, reality: Reality, want: Wanted, manner: Manner
) -> tuple[Prepared, list[Result], list[Result]]:
    """What would change, and the quick look at a server where nothing would."""
    from mlflow_provision.cli.setup import prepared_for
    from mlflow_provision.provision import checks, plan_or_look

    prepared = prepared_for(console, reality.host, want, manner.artifacts_moved)
    console.home = prepared.facts["home"] if want.deployment.scope == "user" else ""
    with console.busy("Comparing"):
        results = console.steps(plan_or_look(reality.host, prepared), shown=())
    pending = [result for result in results if result.verdict == CHANGED]
    console.document.changes = len(pending)
    return prepared, pending, checks(console.answer)


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


def _decision(
    console: Console, talk: Conversation, manner: Manner, possible: bool, changes: int, shown_in_full: bool
) -> str:
    from mlflow_provision.wizard.asking import Back, Choice

    if manner.save_only:
        return SAVE
    if manner.yes and possible:
        return APPLY
    if not console.asks:
        raise ProvisionError(
            f"{plural(changes, 'change')} pending, and there is no terminal to ask whether to apply them",
            f"apply without a question: {again()} --yes",
            ExitCode.USAGE,
        )
    choices = [Choice(APPLY, "Yes, set it up" if changes else "Yes, it is as it should be")] if possible else []
    choices.append(Choice(CHANGE, "Change an answer"))
    if possible and changes and not shown_in_full:
        choices.append(Choice(DETAILS, "Show the plan in full"))
    choices += [Choice(SAVE, "Save the deployment file only"), Choice(NO, "No, leave everything as it is")]
    asker = _asker(console, replace(manner, defaults=False))
    try:
        return asker.choose("Is this right?", choices, choices[0].value, "--yes or --save-only")
    except Back:
        return CHANGE


def _section(console: Console, talk: Conversation) -> str | None:
    from mlflow_provision.wizard.asking import Back, Choice
    from mlflow_provision.wizard.summary import lines

    choices = [Choice(line.section, line.label, line.text) for line in lines(talk) if line.section]
    try:
        return talk.ask.choose("Which one?", choices, choices[0].value)
    except Back:
        return None


def _save(console: Console, want: Wanted, prepared: Prepared | None) -> None:
    from mlflow_provision.cli.keeping import keep_both
    from mlflow_provision.config import Secrets
    from mlflow_provision.wizard.answers import forget_kept

    secrets = prepared.secrets if prepared else want.secrets or Secrets()
    keep_both(want, prepared.deployment if prepared else want.deployment, secrets)
    forget_kept()
    console.say(f"Saved {want.path}. Nothing was changed on the host.", "good")
    console.say(f"Set it up later: mlflow-provision setup {want.deployment.name}")


def _carry_out(
    console: Console, reality: Reality, want: Wanted, prepared: Prepared, changes: int, checks: list[Result]
) -> None:
    from mlflow_provision.cli.setup import carry_out
    from mlflow_provision.wizard.answers import forget_kept

    forget_kept()  # from here on the deployment file knows it all
    try:
        carry_out(console, reality.host, want, prepared, changes, checks)
    except ProvisionError as error:
        if error.code is not ExitCode.INTERRUPTED:
            raise
        hint = f"it continues where it stopped: mlflow-provision setup {want.deployment.name}"
        raise ProvisionError(error.message, hint, error.code) from None


def _adopt(console: Console, talk: Conversation, reality: Reality, manner: Manner) -> ExitCode | None:
    from mlflow_provision.cli.adopting import adopt_on
    from mlflow_provision.wizard.answers import forget_kept

    code = adopt_on(console, reality.host, _want(talk), talk.answers.keys, manner.yes)
    if code is None:
        forget_kept()
    return code


def _interrupted(console: Console) -> ProvisionError:
    return ProvisionError(
        "interrupted: nothing was changed on the host. Your answers are kept",
        f"go on where you stopped: {RESUME}",
        ExitCode.INTERRUPTED,
    )


def _nowhere(answers: Answers) -> None: ...
