"""`user remove`: somebody may not use the server any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import asked, unasked
from mlflow_provision.cli.user.reached import asked_server, restart_flag, say_lingering, username
from mlflow_provision.console.text import plural
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.users import Reached


@click.command("remove")
@username
@named
@restart_flag
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@accept_flag
@reports
def remove_command(
    console: Console, username: str, name: str | None, no_restart: bool, yes: bool, accept_new_host_key: bool
) -> ExitCode | None:
    """Remove a user. Their password stops working at once; experiments, runs and models that they made stay.

    The administrator that the deployment is run with, and the last one there is, cannot be removed.
    """
    from mlflow_provision import users

    with asked_server(console, name, accept_new_host_key) as (reached, _):
        users.refuse_own(reached, username)
        if not _confirmed(console, reached, username, yes):
            console.say("Nothing was changed.")
            return ExitCode.FAILED
        with stoppable(console, reached.host):
            console.steps(users.remove(reached, username, not no_restart), shown=())
    console.document.details["removed"] = console.answer["user"]
    say_lingering(console, console.answer)
    console.say(f"{username} may not use {reached.deployment.name} any more. What they made is still there.", "good")
    return None


def _confirmed(console: Console, reached: Reached, username: str, yes: bool) -> bool:
    from mlflow_provision import users

    with console.busy("Asking the server"):
        (user,) = users.permissions(reached, username, None)["users"]
    own = [grant for grant in user["grants"] if not grant["role"]]
    kind = ", an administrator," if user["admin"] else ""
    console.say(f"{username}{kind} will be removed from {reached.deployment.name}.", "bad")
    gone = f"{plural(len(own), 'permission')} of their own will be gone; their" if own else "Their"
    console.say(f"  {gone} work stays.")
    if yes:
        return True
    if not console.asks:
        raise unasked("remove them", "remove them")
    return asked(console, lambda: click.confirm(f"Remove {username}?", default=False, err=True))
