"""A password for a user: generated, typed by a person, or given by the environment. Never an argument."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.planned import asked
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console

VARIABLE = "MLFLOW_PROVISION_USER_PASSWORD"

typed_flag = click.option("--type", "typed", is_flag=True, help="Type it, hidden, instead of having one generated.")


def new_password(console: Console, username: str, typed: bool, must_be_seen: bool = True) -> tuple[str, bool]:
    """The password, and whether it was generated. One that `must_be_seen` is refused where nobody would see it."""
    from mlflow_provision.config import generate_password
    from mlflow_provision.users import check_password

    if given := os.environ.get(VARIABLE):
        check_password(given, f"the password in {VARIABLE}")
        return given, False
    if typed:
        return _typed_twice(console, username), False
    options = click.get_current_context().params
    if must_be_seen and options["quiet"] and not options["as_json"]:
        raise ProvisionError(
            "with --quiet nobody would see the password that is generated",
            f"leave out --quiet, add --json, or set {VARIABLE}",
            ExitCode.USAGE,
        )
    return generate_password(), True


def say_once(console: Console, username: str, password: str) -> None:
    """A generated password: here and now, and never again."""
    console.say(f"  Username  {username}")
    console.say(f"  Password  {password}")
    console.say("It is shown this once, and kept nowhere in clear. Hand it over on a way that others cannot read.")


def _typed_twice(console: Console, username: str) -> str:
    from mlflow_provision.config import password_problem

    def usable(text: str) -> str:
        if problem := password_problem(text):
            raise click.UsageError(f"it {problem}")
        return text

    if not console.asks:
        raise ProvisionError(
            "there is no terminal to type a password at", f"set {VARIABLE}, or leave out --type", ExitCode.USAGE
        )
    question = f"New password for {username}"
    typed: str = asked(
        console,
        lambda: click.prompt(question, hide_input=True, confirmation_prompt=True, err=True, value_proc=usable),
    )
    return typed
