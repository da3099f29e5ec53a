"""`run`: a program of the operator's, with a server to talk to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from mlflow_provision.cli.command import transparent, typed
from mlflow_provision.cli.deployments import chosen, complete_name
from mlflow_provision.errors import ExitCode, ProvisionError

NOT_EXECUTABLE, NOT_FOUND = 126, 127


@click.command("run", context_settings={"ignore_unknown_options": True})
@click.argument(
    "words", nargs=-1, type=click.UNPROCESSED, metavar="[NAME] -- PROGRAM ARGS...", shell_complete=complete_name
)
@transparent
def run_command(words: tuple[str, ...]) -> int:
    """Run a program that uses a server: tunnel, address and login are there, for this program only.

    \b
    mlflow-provision run -- python train.py --epochs 3
    mlflow-provision run prod -- mlflow experiments search

    Its output, its signals and its exit code are its own. A tunnel that was opened for it is closed afterwards.
    """
    from mlflow_provision.cli.child import run_child
    from mlflow_provision.client import beside, variables
    from mlflow_provision.tunnel import opened

    name, argv = _split(words)
    deployment, path = chosen(name)
    if code := _cannot_run(argv[0]):
        return code
    way = opened(deployment, path)
    try:
        needed = variables(deployment, path, way.url)
        return run_child(argv, {**os.environ, **beside(needed, os.environ)})
    finally:
        way.close()


def _split(words: tuple[str, ...]) -> tuple[str | None, list[str]]:
    """NAME and the program, which `--` divides."""
    usage = "mlflow-provision run NAME -- python train.py"
    line = typed()[1:]
    if "--" not in line:
        raise ProvisionError("put -- before the program, so that its options stay its own", usage, ExitCode.USAGE)
    argv = line[line.index("--") + 1 :]
    before = words[: len(words) - len(argv)]
    if not argv:
        raise ProvisionError("run what? No program follows --", usage, ExitCode.USAGE)
    if len(before) > 1 or any(word.startswith("-") for word in before):
        raise ProvisionError(f"only a NAME comes before --, not: {' '.join(before)}", usage, ExitCode.USAGE)
    return (before[0] if before else None), argv


def _cannot_run(program: str) -> int:
    """The exit code of shells for a program that is not there, or is none; 0 if it can be tried."""
    if shutil.which(program):
        return 0
    there = "/" in program and Path(program).exists()
    click.echo(f"mlflow-provision run: {program}: {'cannot be executed' if there else 'not found'}", err=True)
    return NOT_EXECUTABLE if there else NOT_FOUND
