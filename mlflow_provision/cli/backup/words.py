"""`[ID] [NAME]`: which of the words is which. An ID begins with a digit, a deployment's name never does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from mlflow_provision.cli.deployments import complete_name
from mlflow_provision.errors import ExitCode, ProvisionError

LATEST = "latest"


def id_and_name(command: Callable[..., Any]) -> Callable[..., Any]:
    """Two arguments, each of which may be left out."""
    return click.argument("words", nargs=-1, metavar="[ID] [NAME]", shell_complete=complete_name)(command)


def parted(words: Sequence[str]) -> tuple[str, str | None]:
    """The ID that was typed (or "") and the name (or None)."""
    ids = [word for word in words if is_id(word)]
    names = [word for word in words if not is_id(word)]
    if len(ids) > 1 or len(names) > 1:
        twice, what = (ids, "backups") if len(ids) > 1 else (names, "deployments")
        raise ProvisionError(
            f"{' and '.join(twice)} are two {what}", "give one ID and one NAME at most", ExitCode.USAGE
        )
    return (ids[0] if ids else ""), (names[0] if names else None)


def is_id(word: str) -> bool:
    return word[:1].isdigit() or word == LATEST
