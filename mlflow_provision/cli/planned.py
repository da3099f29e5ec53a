"""How a plan looks, and the question whether to apply it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from mlflow_provision.agent.protocol import CHANGED, Result
from mlflow_provision.cli.address import address
from mlflow_provision.cli.command import again
from mlflow_provision.console.text import plural, size
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.provision import Prepared

Answer = TypeVar("Answer")


def say_host(console: Console, prepared: Prepared) -> None:
    """What is set up, and where: two lines."""
    facts, deployment = prepared.facts, prepared.deployment
    where = facts["hostname"] if deployment.host == "local" else deployment.host
    memory, cpus = size(facts["memory"]), plural(facts["cpus"], "CPU")
    console.home = facts["home"] if deployment.scope == "user" else ""
    console.say(f"Host    {where}: {facts['os']['name']}, {cpus}, {memory}")
    folder = console.shortened(f"{facts['root']['path']}/{deployment.name}")
    console.say(f"Server  {deployment.name}: MLflow {deployment.mlflow.version}, {address(deployment)}, in {folder}")


def say_port(console: Console, prepared: Prepared, asked: int) -> None:
    """Another port than the usual one was taken: say why."""
    if prepared.gave_way_to:
        console.say(f"        (port {asked} is used by {prepared.gave_way_to})", "faint")


def say_plan(console: Console, results: Sequence[Result], diffs: bool) -> int:
    """The resources that differ, with or without diffs; returns how many."""
    pending = [result for result in results if result.verdict == CHANGED]
    console.document.changes = len(pending)
    if not pending:
        return 0
    console.say()
    same = len(results) - len(pending)
    rest = f" ({same} more {'is' if same == 1 else 'are'} as wanted)" if same else ""
    console.say(f"{plural(len(pending), 'change')}{rest}:", "strong")
    for result in pending:
        console.change(result)
        if diffs and result.diff:
            console.diff(result.diff)
    console.say()
    return len(pending)


def confirmed(console: Console, changes: int, yes: bool) -> bool:
    """May the plan be applied? Without a person to ask, only --yes says so."""
    if yes:
        return True
    if not console.asks:
        raise pending_unasked(changes)
    if asked(console, lambda: click.confirm(f"Apply {plural(changes, 'change')}?", err=True)):
        return True
    console.say("Nothing was changed.")
    return False


def pending_unasked(changes: int) -> ProvisionError:
    error = unasked("apply them", "apply")
    return ProvisionError(f"{plural(changes, 'change')} pending, and {error.message}", error.hint, error.code)


def unasked(whether: str, do: str) -> ProvisionError:
    """Nobody is there to say yes: `whether` to "destroy it", for which one may type --yes to `do` it."""
    return ProvisionError(
        f"there is no terminal to ask whether to {whether}",
        f"{do} without a question: {again()} --yes",
        ExitCode.USAGE,
    )


def asked(console: Console, question: Callable[[], Answer]) -> Answer:
    """The answer to a question before anything is changed; Ctrl-C says that too."""
    try:
        with console.question():
            return question()
    except click.Abort:
        click.echo(err=True)
        raise ProvisionError("interrupted: nothing was changed", code=ExitCode.INTERRUPTED) from None
