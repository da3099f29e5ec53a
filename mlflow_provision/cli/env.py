"""`env`: what an MLflow client needs to find a server and log in."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.address import address, lacks_tunnel, tunnel_command
from mlflow_provision.cli.command import reports
from mlflow_provision.cli.deployments import chosen, named

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("env")
@named
@click.option(
    "--format",
    "style",
    type=click.Choice(["shell", "fish", "powershell", "dotenv", "json"]),
    default="shell",
    help="shell: for bash, zsh and their kin; json: one object; dotenv: for a .env file.  [default: shell]",
)
@reports
def env_command(console: Console, name: str | None, style: str) -> None:
    """Print address, administrator and password of a server as environment variables. No host is asked.

    \b
    eval "$(mlflow-provision env NAME)"        for this shell
    mlflow-provision env NAME --format fish | source
    mlflow-provision env NAME --format powershell | Out-String | Invoke-Expression
    mlflow-provision env NAME --format dotenv > .env
    """
    from mlflow_provision.client import variables as client_variables

    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    variables = client_variables(deployment, path, address(deployment))
    console.document.details["environment"] = variables
    for line in _LINES[style](variables):
        console.show(line)
    if lacks_tunnel(deployment):
        console.aside(f"Note: no tunnel runs; this opens one: {tunnel_command(deployment)}")


def _shell(variables: Mapping[str, str]) -> list[str]:
    return [f"export {variable}={shlex.quote(value)}" for variable, value in variables.items()]


def _fish(variables: Mapping[str, str]) -> list[str]:
    """Within single quotes fish knows two escapes: of the quote and of the backslash."""
    return [f"set -gx {variable} '{_escaped(value)}'" for variable, value in variables.items()]


def _powershell(variables: Mapping[str, str]) -> list[str]:
    """Within single quotes only the quote is special, and is doubled."""
    doubled = {variable: value.replace("'", "''") for variable, value in variables.items()}
    return [f"$Env:{variable} = '{value}'" for variable, value in doubled.items()]


def _json(variables: Mapping[str, str]) -> list[str]:
    return [json.dumps(variables)]


def _dotenv(variables: Mapping[str, str]) -> list[str]:
    """Quoted only where it must be: docker's --env-file takes quotes for a part of the value."""
    return [f"{variable}={_dotenv_value(value)}" for variable, value in variables.items()]


def _dotenv_value(value: str) -> str:
    if re.fullmatch(r"[\w.:/@%+=,-]*", value):
        return value
    return f"'{_escaped(value)}'"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


_LINES = {"shell": _shell, "fish": _fish, "powershell": _powershell, "dotenv": _dotenv, "json": _json}
