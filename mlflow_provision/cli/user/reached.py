"""From what was typed to a server whose users can be changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.connection import connected, where
from mlflow_provision.cli.deployments import chosen

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_provision.console import Console
    from mlflow_provision.users import Reached


def username(command: Callable[..., Any]) -> Callable[..., Any]:
    """The USERNAME argument."""
    return click.argument("username")(command)


restart_flag = click.option(
    "--no-restart",
    is_flag=True,
    help="Not even where several workers remember old passwords for a minute.",
)


@contextmanager
def asked_server(
    console: Console, name: str | None, accept_new_host_key: bool, password_needed: bool = True
) -> Iterator[tuple[Reached, Path]]:
    """The server of a deployment, and the deployment's file; the connection ends with the block."""
    from mlflow_provision.config import load_secrets, secrets_beside
    from mlflow_provision.users import reach

    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    with connected(console, deployment, accept_new_host_key) as host:
        with console.busy("Looking at " + where(deployment)):
            reached = reach(host, deployment, load_secrets(secrets_beside(path)), password_needed)
        console.home = reached.facts["home"] if deployment.scope == "user" else ""
        yield reached, path


def say_lingering(console: Console, answer: dict[str, Any]) -> None:
    """Other workers may not know of it yet."""
    if answer.get("lingers"):
        console.note("the other workers may let in with what was valid before for up to a minute more")
