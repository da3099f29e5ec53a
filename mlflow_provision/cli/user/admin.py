"""`user admin`: who may do everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.user.reached import asked_server, restart_flag, say_lingering, username

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("admin")
@username
@named
@click.option("--off", is_flag=True, help="An ordinary user again.")
@restart_flag
@accept_flag
@reports
def admin_command(
    console: Console, username: str, name: str | None, off: bool, no_restart: bool, accept_new_host_key: bool
) -> None:
    """Make a user an administrator, who may read, change and delete everything, and manage the users.

    With --off, an ordinary user again; not the administrator that the deployment is run with, and not the last one.
    """
    from mlflow_provision import users

    with asked_server(console, name, accept_new_host_key) as (reached, _), stoppable(console, reached.host):
        console.steps(users.set_admin(reached, username, not off, not no_restart), shown=())
    console.document.details["user"] = console.answer["user"]
    say_lingering(console, console.answer)
    now = "an ordinary user" if off else "an administrator"
    if console.answer["changed"]:
        console.say(f"{username} is {now} of {reached.deployment.name} now.", "good")
    else:
        console.say(f"{username} was {now} of {reached.deployment.name} already.")
