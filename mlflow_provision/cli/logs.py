"""`logs`: what a server says."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.since import since_option
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console

_LINES = 100
_WEEK = 7 * 86400.0
_OWN_TIME = re.compile(r"^\[?\d{4}[/-]\d\d[/-]\d\d[ T]\d\d:\d\d:\d\d[.,\d]*\]? ")


@click.command("logs")
@named
@click.option("-f", "--follow", is_flag=True, help="Go on with what it says from now on, until Ctrl-C.")
@since_option("Look back so far: 30m, 2h, 1d, or a time like '2026-11-21 18:00'.")
@click.option("--errors", is_flag=True, help="Errors only, tracebacks whole, and requests that failed with a 5xx.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=1),
    metavar="N",
    help="The newest N; errors whole.  [default: 100, or --since]",
)
@click.option("--probes", is_flag=True, help="With the requests for /health, which are left out else.")
@accept_flag
@reports
def logs_command(
    console: Console,
    name: str | None,
    follow: bool,
    since: float | None,
    errors: bool,
    lines: int | None,
    probes: bool,
    accept_new_host_key: bool,
) -> ExitCode | None:
    """Show the log of a server. Passwords, keys and signatures in it are masked.

    Rotation, restarts of the server and of the journal lose no line. With --follow and --json every line is one JSON
    object on a line of its own.

    \b
    mlflow-provision logs -f
    mlflow-provision logs --since 1h --errors
    """
    from mlflow_provision.agent.protocol import Output
    from mlflow_provision.blueprint.watching import logs_request

    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    ago = _WEEK if errors and since is None else since
    data = {
        **logs_request(deployment),
        "ago": ago,
        "lines": _LINES if lines is None and since is None else lines,
        "errors": errors,
        "probes": probes,
        "follow": follow,
    }
    shown = _Shown(console, deployment, errors, follow, _masked(path))
    try:
        with connected(console, deployment, accept_new_host_key) as host:
            for event in host.request("logs", data):
                if isinstance(event, Output):
                    shown.line(json.loads(event.line))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED  # closing the connection has ended what ran on the host
    shown.end(ago)
    return None


class _Shown:
    """The lines, as they come."""

    def __init__(
        self, console: Console, deployment: Deployment, errors: bool, follow: bool, masked: Callable[[str], str]
    ) -> None:
        self._console = console
        self._timed = deployment.scope == "system"  # a log file has the time in its lines, where it has it
        self._errors = errors
        self._follow = follow
        self._masked = masked
        self._lines: list[dict[str, Any]] = []
        self._count = 0
        if not follow:
            console.document.details["lines"] = self._lines

    def line(self, told: dict[str, Any]) -> None:
        told["line"] = self._masked(told["line"])
        if self._errors and told["first"] and self._count:
            self._console.say()
        self._count += 1
        if self._follow:
            self._console.event({"event": "line", **told})
        else:
            self._lines.append(told)
        self._console.show(self._with_time(told), "bad" if told["first"] else "")

    def _with_time(self, told: dict[str, Any]) -> str:
        """By this machine's clock, in place of the one that MLflow writes."""
        if not self._timed or told["at"] is None:
            return str(told["line"])
        return f"{_clock(told['at'])}  {_OWN_TIME.sub('', told['line'])}"

    def end(self, ago: float | None) -> None:
        if self._count:
            return
        what = "no error" if self._errors else "nothing"
        when = f" since {_clock(time.time() - ago)}" if ago is not None else ""
        self._console.aside(f"There is {what} in the log{when}.")


def _masked(path: Path) -> Callable[[str], str]:
    """The host masks the secrets it has; these are those that only this machine knows."""
    from dataclasses import astuple

    from mlflow_provision.agent.logs.mask import STARS
    from mlflow_provision.config import load_secrets, secrets_beside
    from mlflow_provision.errors import ProvisionError

    try:
        values = [value for value in astuple(load_secrets(secrets_beside(path))) if len(value) > 5]
    except ProvisionError:  # whoever may only look has none
        values = []

    def masked(text: str) -> str:
        for value in values:
            text = text.replace(value, STARS)
        return text

    return masked


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
