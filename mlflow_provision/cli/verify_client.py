"""`verify --client`: the server as an ordinary client sees it, from the operator's machine."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlflow_provision.agent.protocol import FAILED
from mlflow_provision.console import EVERYTHING
from mlflow_provision.console.text import duration, plural
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console


def verify_as_client(console: Console, deployment: Deployment, path: Path, yes: bool) -> None:
    """Train, log, register, search, load and predict with the real client; raises if any of it fails."""
    from mlflow_provision.client import beside, variables
    from mlflow_provision.client_check.check import check
    from mlflow_provision.tunnel import opened

    python = _python(console, deployment, yes)
    with console.busy(f"Opening the way to {deployment.name}"):
        way = opened(deployment, path)
    try:
        needed = variables(deployment, path, way.url)
        console.say("Verifying with the real client", "strong")
        with closing(check(python, beside(needed, {}))) as events:  # it needs the tunnel to the end of its cleaning up
            results = console.verdicts(events, EVERYTHING)
    finally:
        way.close()
    failed = [result for result in results if result.verdict == FAILED]
    if failed:
        raise ProvisionError(
            f"{plural(len(failed), 'check')} of {len(results)} failed: {', '.join(result.title for result in failed)}",
            f"see whether the server itself is fine: mlflow-provision verify {deployment.name}",
        )
    console.say(
        f"{deployment.name} serves clients: {plural(len(results), 'check')}, {duration(console.seconds)}.", "good"
    )


def _python(console: Console, deployment: Deployment, yes: bool) -> Path:
    """One that has the client, if need be after asking whether to make it."""
    from mlflow_provision.client_check.environment import cached, folder, install, installer, this_python

    version = deployment.mlflow.version
    if found := this_python(version) or cached(version):
        return found
    place = folder(version)
    what = f"mlflow {version}, scikit-learn and matplotlib"
    if not yes:
        if not console.asks:
            raise ProvisionError(
                f"the Python in use has no {what}",
                f"to install them into {place}: mlflow-provision verify {deployment.name} --client --yes",
                ExitCode.USAGE,
            )
        with console.question():
            click.echo(f"The Python in use has no {what}.", err=True)
            agreed = click.confirm(f"Install them with {installer()} into {place}?", default=True, err=True)
        if not agreed:
            raise ProvisionError("nothing was checked", f"pip install mlflow=={version} scikit-learn matplotlib")
    title = f"Installing {what} with {installer()}"
    with console.busy(title):
        return install(version, lambda line: console.moving(title, line), deployment.mlflow.index_url)
