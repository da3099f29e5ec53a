"""`user add`: somebody more may use the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports, shown
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.user.new_password import new_password, say_once, typed_flag
from mlflow_provision.cli.user.reached import asked_server, username

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("add")
@username
@named
@click.option("--admin", is_flag=True, help="As an administrator, who may do everything.")
@typed_flag
@accept_flag
@reports
def add_command(
    console: Console, username: str, name: str | None, admin: bool, typed: bool, accept_new_host_key: bool
) -> None:
    """Add a user, with a strong password that is generated here and shown once.

    A new user may do what `default_permission` says with what others made, and everything with what is their own.
    """
    from mlflow_provision import users

    users.check_username(username)
    password, generated = new_password(console, username, typed)
    with asked_server(console, name, accept_new_host_key) as (reached, _), stoppable(console, reached.host):
        console.steps(users.add(reached, username, password, admin), shown=())
    shared = {"password": password} if generated else {}
    console.document.details["user"] = {**console.answer["user"], **shared}
    deployment = reached.deployment
    console.say(f"{username} may use {deployment.name} now" + (" and is an administrator." if admin else "."), "good")
    if generated:
        say_once(console, username, password)
    if not admin:
        level = deployment.auth.default_permission
        console.say(f"On the work of others: {level}. More: {shown('user', 'permission', username, deployment.name)}")
