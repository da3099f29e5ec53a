"""`doctor`: what is wrong with a deployment, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, questions
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console
    from mlflow_provision.doctor.case import Case


@click.command("doctor")
@named
@click.option("--fix", is_flag=True, help="Put right what can be put right safely.")
@click.option("--all", "everything", is_flag=True, help="Show the checks that found nothing, too.")
@click.option("-y", "--yes", is_flag=True, help="With --fix: do not ask.")
@accept_flag
@reports
def doctor_command(
    console: Console, name: str | None, fix: bool, everything: bool, yes: bool, accept_new_host_key: bool
) -> ExitCode | None:
    """Find out what is wrong with a deployment: what was seen, why it is so, and what to do about it.

    It looks at the way to the host, hop by hop, at the server, its store, databases, secrets, disk, clock and backups,
    and at what differs from the deployment file. It changes nothing, and its exit code is 1 if anything is wrong.

    With --fix it shows what it would put right, asks, does it, and looks again: files and permissions as setup makes
    them, a broken Python environment, a server or a timer that does not run. What needs a decision is left to you.
    """
    from mlflow_provision.cli.doctor_shown import say_findings, say_verdict
    from mlflow_provision.doctor.finding import bad

    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    with examined(console, deployment, path, accept_new_host_key) as case:
        say_findings(console, case, everything)
        if fix:
            from mlflow_provision.cli.doctor_fix import fixed

            case = fixed(console, case, yes, everything)
        say_verdict(console, case, asked_to_fix=fix)
        console.document.details["findings"] = [finding.as_json() for finding in case.findings]
    return ExitCode.FAILED if bad(case.findings) else None


@contextmanager
def examined(console: Console, deployment: Deployment, path: Path, accept_new_host_key: bool) -> Iterator[Case]:
    """The deployment with all findings; its connection, if there is one, ends with the block."""
    from mlflow_provision.doctor.case import Case
    from mlflow_provision.doctor.diagnosis import diagnose
    from mlflow_provision.host import connect

    case = Case(deployment, path, console.moving)
    try:
        try:
            diagnose(case, lambda: connect(deployment, questions(console), accept_new_host_key))
        finally:
            console.still()
        yield case
    finally:
        if case.host:
            case.host.close()
