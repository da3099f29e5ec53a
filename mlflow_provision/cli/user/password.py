"""`user password`: another password, for anybody; a lost one of the administrator too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports, shown
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.user.new_password import new_password, say_once, typed_flag
from mlflow_provision.cli.user.reached import asked_server, restart_flag, say_lingering, username
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.users import Reached


@click.command("password")
@username
@named
@click.option("--reset", is_flag=True, help="Without the old one: the administrator's is lost.")
@typed_flag
@restart_flag
@accept_flag
@reports
def password_command(
    console: Console,
    username: str,
    name: str | None,
    reset: bool,
    typed: bool,
    no_restart: bool,
    accept_new_host_key: bool,
) -> None:
    """Set another password for a user: a generated one that is shown once, or one that you type.

    That of the administrator of the deployment is not shown: it is kept in the secrets file. If it is lost, --reset
    sets a new one on the host itself, without the old one, with a restart of the server.
    """
    from mlflow_provision import users
    from mlflow_provision.rotation import password as rotation

    with asked_server(console, name, accept_new_host_key, password_needed=not reset) as (reached, path):
        own = username == reached.admin
        if reset and not own:
            raise _only_the_administrators(reached, username)
        new, generated = new_password(console, username, typed, must_be_seen=not own)
        with stoppable(console, reached.host):
            if reset:
                console.steps(rotation.reset(reached, path, new), shown=())
            elif own:
                console.steps(
                    rotation.change(reached, path, new, not no_restart, f"user password {username}"), shown=()
                )
            else:
                console.steps(users.set_password(reached, username, new, not no_restart), shown=())
    shared = {"password": new} if generated and not own else {}
    console.document.details["user"] = {"username": username, **shared}
    say_lingering(console, console.answer)
    console.say(f"{username} has a new password on {reached.deployment.name}, and it was tried.", "good")
    if own:
        say_kept(console, reached, path)
    elif generated:
        say_once(console, username, new)


def say_kept(console: Console, reached: Reached, path: Path) -> None:
    """Where the new password of the administrator is, and where the old one may still be."""
    from mlflow_provision.cli.ending import short
    from mlflow_provision.rotation import password as rotation

    console.say(f"  It is in {short(rotation.kept_in(path))}; to see it: {shown('env', reached.deployment.name)}")
    console.say("  Programs and people that use the old one have to be told.")
    if variable := rotation.stale_variable():
        console.note(f"{variable} is set here and still has the old password: change it where it is set")


def _only_the_administrators(reached: Reached, username: str) -> ProvisionError:
    return ProvisionError(
        f"--reset is for a lost password of {reached.admin}, the administrator of {reached.deployment.name}",
        f"for {username} leave it out: {shown('user', 'password', username, reached.deployment.name)}",
        ExitCode.USAGE,
    )
