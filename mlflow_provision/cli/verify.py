"""`verify`: is the server what it should be?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected, where
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.verified import verified
from mlflow_provision.console.text import duration, plural
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("verify")
@named
@click.option("--kill/--no-kill", default=True, help="Kill the server to see it come back.  [default: kill]")
@click.option("--client", is_flag=True, help="Use it from here instead, with the real mlflow client.")
@click.option("-y", "--yes", is_flag=True, help="With --client: install the client if it is missing.")
@accept_flag
@reports
def verify_command(
    console: Console, name: str | None, kill: bool, client: bool, yes: bool, accept_new_host_key: bool
) -> ExitCode | None:
    """Prove that a server works: who may enter, store and read back through the proxy, and survive a crash.

    It removes what it made. A system server is killed once on the way and is away for some seconds: people who are
    using it are spared by --no-kill. A server in user scope has nobody to restart it, and is never killed.

    With --client it is this machine that checks, as people use a server: train, log, register, search, load, predict,
    without any cloud key.
    """
    from mlflow_provision.config import load_secrets, secrets_beside
    from mlflow_provision.provision import inspected

    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    if client:
        from mlflow_provision.cli.verify_client import verify_as_client

        verify_as_client(console, deployment, path, yes)
        return None
    with connected(console, deployment, accept_new_host_key) as host:
        with console.busy("Looking at " + where(deployment)):
            prepared = inspected(host, deployment, load_secrets(secrets_beside(path)))
        verified(console, host, prepared, kill)
    count = plural(len(console.document.verify), "check")
    console.say(f"{deployment.name} works: {count}, {duration(console.seconds)}.", "good")
    return None
