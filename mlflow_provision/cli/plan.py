"""`plan`: what setup would change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.setup import show_plan
from mlflow_provision.cli.target import Wanted
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("plan")
@named
@click.option("--exit-code", is_flag=True, help="Exit with 4 if changes are pending.")
@accept_flag
@reports
def plan_command(console: Console, name: str | None, exit_code: bool, accept_new_host_key: bool) -> ExitCode | None:
    """Show what setup would change on the host of a deployment, with the diff of every file. Touches nothing."""
    deployment, path = chosen(name)
    return show_plan(console, Wanted(deployment, path), exit_code, accept_new_host_key)
