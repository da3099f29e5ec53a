"""A connection to a deployment's host, and the questions that only a person can answer on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console
    from mlflow_provision.host import Ask, Host


@contextmanager
def connected(console: Console, deployment: Deployment, accept_new_host_key: bool = False) -> Iterator[Host]:
    """The host of the deployment; the connection ends with the block."""
    from mlflow_provision.host import connect

    with console.busy("Connecting to " + where(deployment)):
        host = connect(deployment, questions(console), accept_new_host_key)
    try:
        yield host
    finally:
        host.close()


def where(deployment: Deployment) -> str:
    return "this machine" if deployment.host == "local" else deployment.host


def questions(console: Console) -> Ask:
    """Questions for a person, if one is there."""
    from mlflow_provision.host import Ask

    if not console.asks:
        return Ask()

    def confirm_host_key(host: str, kind: str, fingerprint: str) -> bool:
        with console.question():
            click.echo(
                f"The host {host} is not known yet. Its {kind} key has the fingerprint\n  {fingerprint}", err=True
            )
            return click.confirm("Is this the right one?", default=False, err=True)

    def hidden(prompt: str) -> str | None:
        with console.question():
            answer: str = click.prompt(prompt.rstrip(": "), hide_input=True, default="", show_default=False, err=True)
        return answer or None

    return Ask(confirm_host_key, hidden, lambda path: hidden(f"Passphrase of {path}"))


accept_flag = click.option(
    "--accept-new-host-key",
    is_flag=True,
    help="Trust a host never seen before, without asking.",
)
