"""`setup` with nothing else, on a terminal: the wizard, its summary, and what is done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.connection import questions
from mlflow_provision.cli.decision import NO, SAVE, Decision, Manner, Plan, decided, wanted_by
from mlflow_provision.cli.target import wanted
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.wizard.answers import Answers
    from mlflow_provision.wizard.asking import Asker
    from mlflow_provision.wizard.conversation import Conversation
    from mlflow_provision.wizard.reality import Reality

RESUME = "mlflow-provision setup --resume"


def guided(
    console: Console, target: str | None, name: str | None, keys: Mapping[str, Any], manner: Manner
) -> ExitCode | None:
    """Ask what is not known yet, show it all, and do what the person then decides."""
    from mlflow_provision.host import connect
    from mlflow_provision.wizard.answers import keep
    from mlflow_provision.wizard.conversation import Conversation, Upgrade
    from mlflow_provision.wizard.order import QUESTIONS
    from mlflow_provision.wizard.reality import Reality

    if not console.asks and not (manner.defaults and target):
        raise nobody_to_ask(target, keys, manner.save_only)
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
        decision = _decided(console, talk, reality, manner)
        return _done(console, talk, reality, decision) if decision else None
    except Upgrade as instead:
        to_upgrade = instead.name
    finally:
        reality.close()
    from mlflow_provision.cli.upgrade import KEEP, upgrade

    return upgrade(console, to_upgrade, "", False, KEEP, manner.yes, manner.accept_new_host_key)


def _decided(console: Console, talk: Conversation, reality: Reality, manner: Manner) -> Decision | None:
    """What the person wants in the end; None: nothing."""
    from mlflow_provision.wizard.conversation import Leave, converse

    try:
        converse(talk)
        return decided(console, talk, reality, manner, lambda: _asker(console, replace(manner, defaults=False)))
    except Leave:
        console.say("Everything stays as it is.")
        return None
    except (KeyboardInterrupt, EOFError, click.Abort):
        if not console.asks or not talk.answers.done:
            raise ProvisionError("interrupted: nothing was changed", code=ExitCode.INTERRUPTED) from None
        message = "interrupted: nothing was changed on the host. Your answers are kept"
        raise ProvisionError(message, f"go on where you stopped: {RESUME}", ExitCode.INTERRUPTED) from None


def _done(console: Console, talk: Conversation, reality: Reality, decision: Decision) -> ExitCode | None:
    if decision.kind == SAVE:
        _save(console, talk, decision.plan)
        return None
    if decision.kind == NO or decision.plan is None:
        console.say(f"Nothing was changed. Your answers are kept: {RESUME}")
        return ExitCode.FAILED
    _carry_out(console, reality, decision.plan)
    return None


def nobody_to_ask(target: str | None, keys: Mapping[str, Any], save_only: bool = False) -> ProvisionError:
    """Without a terminal no question waits for an answer: this says what would have been asked."""
    missing = [] if target else ["TARGET (local, user@host, or a deployment), or --config FILE"]
    if str(keys.get("artifacts.destination", "")).startswith("s3://") and "artifacts.credentials" not in keys:
        missing.append("one of --instance-role, --aws-profile PROFILE, --aws-keys")
    unasked = "--save-only --defaults" if save_only else "--yes"
    return ProvisionError(
        "there is no terminal to ask on, and this is missing: "
        + ("; ".join(missing) or ("--defaults" if save_only else "--defaults or --yes")),
        f"mlflow-provision setup {target or 'user@host'} {unasked}\n"
        "what is not said has its default; all that can be said: mlflow-provision setup --help",
        ExitCode.USAGE,
    )


def _answers(
    console: Console, target: str | None, name: str | None, keys: Mapping[str, Any], manner: Manner
) -> Answers:
    """The answers that are there before the first question: those of flags, or those of an interrupted setup."""
    from mlflow_provision.config import local_scope
    from mlflow_provision.wizard.answers import Answers, kept, kept_path
    from mlflow_provision.wizard.conversation import given
    from mlflow_provision.wizard.order import QUESTIONS
    from mlflow_provision.wizard.questions.where import LOCAL

    if manner.resume:
        answers = kept()
        # Secrets were not kept, and the host may have changed: these are asked and looked at again.
        answers.done -= {question.id for question in QUESTIONS if question.silent}
        answers.done -= {"login.password", "credentials.keys", "backups.passphrase"}
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


def _save(console: Console, talk: Conversation, plan: Plan | None) -> None:
    from mlflow_provision.cli.keeping import keep, keep_both
    from mlflow_provision.wizard.answers import forget_kept

    want = plan.want if plan else wanted_by(talk)
    if plan:
        keep(want, plan.prepared)
    else:
        keep_both(want, want.deployment, talk.answers.secrets)
    forget_kept()
    name = want.deployment.name + (" --adopt" if talk.answers.adopt else "")
    console.say(f"Saved {want.path}. Nothing was changed on the host.", "good")
    console.say(f"Set it up later: mlflow-provision setup {name}")


def _carry_out(console: Console, reality: Reality, plan: Plan) -> None:
    from mlflow_provision.cli.adopting import take_over
    from mlflow_provision.cli.setup import carry_out
    from mlflow_provision.wizard.answers import forget_kept

    forget_kept()  # from here on the deployment file knows it all
    try:
        if plan.adoption:
            take_over(console, reality.host, plan.want, plan.adoption)
        else:
            carry_out(console, reality.host, plan.want, plan.prepared, len(plan.pending), list(plan.checks))
    except ProvisionError as error:
        if error.code is not ExitCode.INTERRUPTED:
            raise
        name = plan.want.deployment.name + (" --adopt" if plan.adoption else "")
        hint = f"it continues where it stopped: mlflow-provision setup {name}"
        raise ProvisionError(error.message, hint, error.code) from None


def _nowhere(answers: Answers) -> None: ...
