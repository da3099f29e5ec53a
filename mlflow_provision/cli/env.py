"""`env`: what an MLflow client needs to find a server and log in."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.address import address
from mlflow_provision.cli.command import reports
from mlflow_provision.cli.deployments import chosen, named, secrets_beside
from mlflow_provision.errors import ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("env")
@named
@reports
def env_command(console: Console, name: str | None) -> None:
    """Print address, administrator and password of a server as environment variables. No host is asked.

    \b
    eval "$(mlflow-provision env NAME)"        for this shell
    mlflow-provision env NAME | source         the same in fish
    """
    from mlflow_provision.config import ENVIRONMENT, load_secrets, secrets_path

    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    beside = secrets_beside(path)
    password = load_secrets(beside).admin_password
    if not password:
        raise ProvisionError(
            f"the password of {deployment.auth.admin_username} on {deployment.name} is not known on this machine",
            f"write admin_password into {secrets_path(beside)}, or set {ENVIRONMENT['admin_password']}",
        )
    variables = {
        "MLFLOW_TRACKING_URI": address(deployment),
        "MLFLOW_TRACKING_USERNAME": deployment.auth.admin_username,
        "MLFLOW_TRACKING_PASSWORD": password,
    }
    console.document.details["environment"] = variables
    for variable, value in variables.items():
        console.say(f"export {variable}={shlex.quote(value)}")
