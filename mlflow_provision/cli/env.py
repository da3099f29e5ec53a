"""`env`: what an MLflow client needs to find a server and log in."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
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
@click.option(
    "--format",
    "style",
    type=click.Choice(["shell", "json", "dotenv"]),
    default="shell",
    help="shell: to eval; json: one object; dotenv: for a .env file.",
)
@reports
def env_command(console: Console, name: str | None, style: str) -> None:
    """Print address, administrator and password of a server as environment variables. No host is asked.

    \b
    eval "$(mlflow-provision env NAME)"        for this shell
    mlflow-provision env NAME | source         the same in fish
    mlflow-provision env NAME --format dotenv > .env
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
    for line in _LINES[style](variables):
        console.say(line)


def _shell(variables: Mapping[str, str]) -> list[str]:
    return [f"export {variable}={shlex.quote(value)}" for variable, value in variables.items()]


def _json(variables: Mapping[str, str]) -> list[str]:
    return [json.dumps(variables)]


def _dotenv(variables: Mapping[str, str]) -> list[str]:
    """Quoted only where it must be: docker's --env-file takes quotes for a part of the value."""
    return [f"{variable}={_dotenv_value(value)}" for variable, value in variables.items()]


def _dotenv_value(value: str) -> str:
    if re.fullmatch(r"[\w.:/@%+=,-]*", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_LINES = {"shell": _shell, "json": _json, "dotenv": _dotenv}
