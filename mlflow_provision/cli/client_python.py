"""Which Python `verify --client` uses: one that has the client, or one that is made once somebody said yes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import again
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.client_check import Interpreter
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console

_BY_HAND = "pip install mlflow scikit-learn matplotlib"


def python_for(console: Console, deployment: Deployment, yes: bool) -> Interpreter:
    """Asks before it installs anything. Raises ProvisionError where there is neither a client nor a way to get one."""
    from mlflow_provision.client_check import found, make, maker, place

    version = deployment.mlflow.version
    with console.busy("Looking for a Python with the MLflow client"):
        there = found(version)
    if there:
        return there
    tool = maker()
    if not tool:
        raise ProvisionError(
            "no Python here has mlflow, scikit-learn and matplotlib, and neither uv nor venv is there to make one",
            f"install uv, or give the Python you work with the client: {_BY_HAND}",
        )
    if not yes:
        _ask(console, f"Install mlflow {version} with {tool} into {place(version)}?")
    title = f"Installing the MLflow client {version} with {tool}"
    console.moving(title)
    try:
        return make(deployment, tool, lambda line: console.moving(title, line))
    finally:
        console.still()


def _ask(console: Console, question: str) -> None:
    problem = "no Python here has mlflow, scikit-learn and matplotlib"
    if not console.asks:
        raise ProvisionError(problem, f"let one be made in the cache: {again()} --yes", ExitCode.USAGE)
    with console.question():
        click.echo(f"To use the server from here, a real client is needed: {problem}.", err=True)
        agreed = click.confirm(question, default=True, err=True)
    if not agreed:
        raise ProvisionError("no client, no trial", f"give the Python you work with the client: {_BY_HAND}")
