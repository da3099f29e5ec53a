"""Which deployment a command is about: its NAME argument, its files, and how a shell completes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment


def complete_name(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of deployment files, without reading one."""
    from mlflow_provision.config import names

    return [name for name in names() if name.startswith(incomplete)]


def named(command: Callable[..., Any]) -> Callable[..., Any]:
    """The NAME argument; it may be left out where exactly one deployment is known."""
    return click.argument("name", required=False, shell_complete=complete_name)(command)


def chosen(name: str | None) -> tuple[Deployment, Path]:
    """The deployment of that name, or the only one there is, and its file."""
    from mlflow_provision.config import deployment_path, find, load, names

    path = find(name) if name else deployment_path(_only(names()))
    return load(path), path


def _only(known: list[str]) -> str:
    if len(known) == 1:
        return known[0]
    if not known:
        raise ProvisionError("there is no deployment yet", "make one: mlflow-provision setup local", ExitCode.USAGE)
    raise ProvisionError(f"which one? There are {', '.join(known)}", "name one of them", ExitCode.USAGE)
