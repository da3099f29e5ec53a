"""The command line: one small module per command. `--help` and completion import nothing but click."""

from __future__ import annotations

import gc

import click

from mlflow_provision import __version__
from mlflow_provision.cli.group import LazyGroup


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Turn a blank Linux machine into a verified MLflow server, and look after it.

    \b
    mlflow-provision setup local          a server on this machine, no root needed
    mlflow-provision setup ubuntu@host    a hardened server on a host reached by SSH
    """


def main() -> None:
    """What the `mlflow-provision` command runs."""
    # Importing makes many objects and no garbage: looking for some costs a tenth of the time to connect.
    gc.disable()
    cli(prog_name="mlflow-provision")
