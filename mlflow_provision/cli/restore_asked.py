"""What was typed of a restore, and what is asked before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import again
from mlflow_provision.cli.planned import asked
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console


@dataclass(frozen=True)
class Order:
    """What was typed."""

    id: str  # "": a person chooses
    target: str  # "": where it is now
    safety: bool
    artifacts: bool
    yes: bool


def refuse_early(console: Console, order: Order) -> None:
    """What a person would be asked must be said where nobody is."""
    if console.asks:
        return
    if not order.id:
        raise ProvisionError(
            "there is no terminal to ask which backup", f"take the newest: {again()} --latest", ExitCode.USAGE
        )
    refuse_unasked(console, order.yes)


def refuse_unasked(console: Console, yes: bool) -> None:
    """Where nobody can be asked, --yes must be there."""
    if not (yes or console.asks):
        raise ProvisionError(
            "there is no terminal to ask whether to restore",
            f"restore without a question: {again()} --yes",
            ExitCode.USAGE,
        )


def confirmed(console: Console, deployment: Deployment, yes: bool, what: str = "restore it") -> bool:
    """Has a person typed the name of the deployment, or --yes?"""
    if yes:
        return True
    question = f"To {what}, type its name ({deployment.name})"
    typed: str = asked(console, lambda: click.prompt(question, default="", show_default=False, err=True))
    return typed.strip() == deployment.name
