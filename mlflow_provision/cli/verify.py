"""`verify`: is the server what it should be?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected, where
from mlflow_provision.cli.deployments import chosen, named, secrets_beside
from mlflow_provision.cli.verified import by_client, verified
from mlflow_provision.console.text import duration, plural
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("verify")
@named
@click.option("--kill/--no-kill", default=True, help="Kill the server to see it come back.  [default: kill]")
@click.option("--client", is_flag=True, help="Also use it from here, with the real MLflow client.")
@click.option("-y", "--yes", is_flag=True, help="With --client: install one if there is none.")
@accept_flag
@reports
def verify_command(
    console: Console, name: str | None, kill: bool, client: bool, yes: bool, accept_new_host_key: bool
) -> ExitCode | None:
    """Prove that a server works: who may enter, store and read back through the proxy, and survive a crash.

    It removes what it made. A system server is killed once on the way and is away for some seconds: people who are
    using it are spared by --no-kill. A server in user scope has nobody to restart it, and is never killed.

    With --client, a small scikit-learn model is then trained on this machine and makes the whole journey, by a client
    that holds no cloud key.
    """
    from mlflow_provision.cli.client_python import python_for
    from mlflow_provision.config import load_secrets
    from mlflow_provision.provision import inspected

    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    interpreter = python_for(console, deployment, yes) if client else None
    with connected(console, deployment, accept_new_host_key) as host:
        with console.busy("Looking at " + where(deployment)):
            prepared = inspected(host, deployment, load_secrets(secrets_beside(path)))
        verified(console, host, prepared, kill)
    if interpreter:
        by_client(console, deployment, path, interpreter)
    count = plural(len(console.document.verify), "check")
    console.say(f"{deployment.name} works: {count}, {duration(console.seconds)}.", "good")
    return None
