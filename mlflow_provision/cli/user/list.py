"""`user list`: who may use the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports, shown
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import named
from mlflow_provision.cli.user.reached import asked_server
from mlflow_provision.console.text import plural

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.users import User

HEADER = ("USER", "KIND", "ROLES", "WAS GIVEN")


@click.command("list")
@named
@accept_flag
@reports
def list_command(console: Console, name: str | None, accept_new_host_key: bool) -> None:
    """List the users of a server: who is an administrator, their roles, and on how many things they have permissions of
    their own."""
    from mlflow_provision.users import listed

    with asked_server(console, name, accept_new_host_key) as (reached, _), console.busy("Asking the server"):
        users = listed(reached)
    console.document.details["users"] = users
    console.table(*_without_empty([_row(user, reached.admin) for user in users]))
    default = reached.deployment.auth.default_permission
    console.say(f"Where a user was given nothing: {default}. Each has MANAGE on what they make.", "faint")
    if len(users) == 1:
        console.say(f"Add one: {shown('user', 'add', 'USERNAME', reached.deployment.name)}")


def _without_empty(rows: list[tuple[str, ...]]) -> tuple[list[str], list[list[str]]]:
    """The table without the columns in which nobody has anything."""
    kept = [at for at, _ in enumerate(HEADER) if any(row[at] for row in rows)]
    return [HEADER[at] for at in kept], [[row[at] for at in kept] for row in rows]


def _row(user: User, admin: str) -> tuple[str, ...]:
    kind = "administrator" if user["admin"] else "user"
    if user["username"] == admin:
        kind = "administrator of this deployment" if user["admin"] else "no administrator any more"
    own = [grant for grant in user["grants"] if not grant["role"]]
    return user["username"], kind, ", ".join(user["roles"]), plural(len(own), "permission") if own else ""
