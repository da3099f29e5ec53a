"""`run`: a program of the operator's, with a server to talk to."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from mlflow_provision.cli.command import transparent, typed
from mlflow_provision.cli.deployments import chosen, complete_name
from mlflow_provision.cli.group import TYPED
from mlflow_provision.errors import ExitCode, ProvisionError

_USAGE = "mlflow-provision run NAME -- python train.py"


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Deployments before `--`, files after it."""
    if "--" in context.meta.get(TYPED, ()):
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(name) for name in complete_name(context, parameter, incomplete)]


@click.command("run", context_settings={"ignore_unknown_options": True})
@click.argument(
    "words", nargs=-1, type=click.UNPROCESSED, metavar="[NAME] -- PROGRAM ARGS...", shell_complete=_complete
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
    line = typed()[1:]
    if "--" not in line:
        raise ProvisionError(
            "put -- before the program, so that its options stay its own", _with_dashes(words), ExitCode.USAGE
        )
    argv = line[line.index("--") + 1 :]
    before = words[: len(words) - len(argv)]
    if not argv:
        raise ProvisionError("run what? No program follows --", _USAGE, ExitCode.USAGE)
    if len(before) > 1 or any(word.startswith("-") for word in before):
        raise ProvisionError(f"only a NAME comes before --, not: {' '.join(before)}", _USAGE, ExitCode.USAGE)
    return (before[0] if before else None), argv


def _with_dashes(words: tuple[str, ...]) -> str:
    """What was probably meant."""
    from mlflow_provision.config import names

    name = words[:1] if words and words[0] in names() else ()
    program = words[len(name) :]
    return shlex.join(["mlflow-provision", "run", *name, "--", *program]) if program else _USAGE


def _cannot_run(program: str) -> int:
    """The exit code of shells for a program that is not there, or is none; 0 if it can be tried."""
    if shutil.which(program):
        return 0
    there = "/" in program and Path(program).exists()
    click.echo(f"mlflow-provision run: {program}: {'cannot be executed' if there else 'not found'}", err=True)
    return ExitCode.NOT_EXECUTABLE if there else ExitCode.NOT_FOUND
