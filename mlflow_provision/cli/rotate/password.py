"""`rotate password`: another password for the administrator, which nobody has to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.user.new_password import new_password, typed_flag
from mlflow_provision.cli.user.password import say_kept
from mlflow_provision.cli.user.reached import asked_server, restart_flag, say_lingering
from mlflow_provision.console import EVERYTHING

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("password")
@named
@typed_flag
@restart_flag
@accept_flag
@reports
def password_command(
    console: Console, name: str | None, typed: bool, no_restart: bool, accept_new_host_key: bool
) -> None:
    """Set another password for the administrator of a deployment: on the server, and in the secrets file here.

    The new one is tried, and so is the old one: it must not work any more. For a password that is lost:
    `mlflow-provision user password ADMIN --reset`.
    """
    from mlflow_provision.rotation.password import change, kept_in

    with asked_server(console, name, accept_new_host_key) as (reached, path):
        new, _ = new_password(console, reached.admin, typed, must_be_seen=False)
        with stoppable(console, reached.host):
            console.steps(
                change(reached, path, new, not no_restart, f"rotate password {reached.deployment.name}"),
                shown=EVERYTHING,
            )
    console.document.details["rotated"] = {"username": reached.admin, "kept_in": str(kept_in(path))}
    say_lingering(console, console.answer)
    console.say(
        f"{reached.admin} has a new password on {reached.deployment.name}, and the old one is forgotten.", "good"
    )
    say_kept(console, reached, path)
