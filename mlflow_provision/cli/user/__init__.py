"""`user`: who may use a server, and for what."""

from __future__ import annotations

import click

from mlflow_provision.cli.group import LazyGroup

# name → (module in this package, one line of help)
COMMANDS = {
    "list": ("list", "List the users, and who is an administrator."),
    "add": ("add", "Add a user, with a password that is shown once."),
    "remove": ("remove", "Remove a user. What they made stays."),
    "password": ("password", "Set another password; a lost one of the administrator too."),
    "admin": ("admin", "Make a user an administrator, or an ordinary user again."),
    "permission": ("permission", "Show, grant or revoke what a user may do; set the default."),
}


@click.group("user", cls=LazyGroup, table=COMMANDS, package="mlflow_provision.cli.user")
def user_command() -> None:
    """Look after the users of a server, through MLflow's own API on its host.

    \b
    mlflow-provision user list
    mlflow-provision user add ana
    mlflow-provision user permission ana --experiment churn --grant EDIT
    mlflow-provision user password admin --reset     when it is lost
    """
