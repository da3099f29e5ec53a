"""A connection to a deployment's host, and the questions that only a person can answer on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

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


def connected_host(
    console: Console, deployment: Deployment, accept_new_host_key: bool, asking: AbstractContextManager[Any]
) -> Host:
    """The same for who looks at several hosts at once, and closes them: only one may ask the person at a time
    (`asking`)."""
    from mlflow_provision.host import connect

    return connect(deployment, _one_at_a_time(questions(console), asking), accept_new_host_key)


def _one_at_a_time(ask: Ask, asking: AbstractContextManager[Any]) -> Ask:
    def guarded(question: Callable[..., Any] | None) -> Callable[..., Any] | None:
        def put(*about: str) -> Any:
            with asking:
                return question(*about) if question else None

        return put if question else None

    return type(ask)(guarded(ask.confirm_host_key), guarded(ask.sudo_password), guarded(ask.key_passphrase))


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
                f"The host {host} is not known yet.\nIts {kind} key has the fingerprint\n  {fingerprint}", err=True
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
