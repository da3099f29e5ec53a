"""`rotate`: other secrets, everywhere they are used."""

from __future__ import annotations

import click

from mlflow_provision.cli.group import LazyGroup

# name → (module in this package, one line of help)
COMMANDS = {
    "password": ("password", "The administrator's password."),
    "aws": ("aws", "The AWS keys of the server and of its backups."),
    "secret": ("secret", "The secrets that the server made for itself."),
}


@click.group("rotate", cls=LazyGroup, table=COMMANDS, package="mlflow_provision.cli.rotate")
def rotate_command() -> None:
    """Change a secret everywhere it is used: the new one in, proved, and only then the old one forgotten.

    \b
    mlflow-provision rotate password
    mlflow-provision rotate aws --iam
    mlflow-provision rotate secret

    When anything fails, the old one works as before. When it is interrupted, the same command goes on.
    """
