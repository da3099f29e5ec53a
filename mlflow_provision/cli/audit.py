"""`audit`: who changed what on a host, and when."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.since import since_option
from mlflow_provision.console.text import duration, plural
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("audit")
@named
@since_option("What began since then: 2h, 7d, or a date.")
@click.option("--all", "everything", is_flag=True, help="Of all deployments on that host.")
@accept_flag
@reports
def audit_command(
    console: Console, name: str | None, since: float | None, everything: bool, accept_new_host_key: bool
) -> ExitCode | None:
    """Show who changed what on the host of a server, when, and what came of it; the newest last.

    The log is on the host, root's, and only ever added to. Each line vouches for the one before it: if one was changed
    or taken out, that is said, and the exit code is 1.
    """
    from mlflow_provision.audit import changes
    from mlflow_provision.blueprint.watching import audit_request
    from mlflow_provision.host import answer

    deployment, _ = chosen(name)
    console.document.deployment = deployment.name
    with (
        connected(console, deployment, accept_new_host_key) as host,
        console.busy(f"Reading the log of {deployment.name}"),
    ):
        told = answer(host, "audit", audit_request(deployment))
    found = [
        change
        for change in changes(told["entries"])
        if (everything or change["deployment"] in (deployment.name, ""))
        and (since is None or _moment(change["at"]) >= time.time() - since)
    ]
    console.document.details |= {"changes": found, "problems": told["problems"]}
    for change in found:
        _say(console, change, named=everything)
    if not found:
        console.say("Nothing was changed" + ("" if since is None else " since then") + ", as far as the log tells.")
    for problem in told["problems"]:
        console.say(f"The log of this host was tampered with, or damaged: {problem}.", "bad")
    return ExitCode.FAILED if told["problems"] else None


def _say(console: Console, change: dict[str, Any], named: bool) -> None:
    at = datetime.fromtimestamp(_moment(change["at"])).strftime("%Y-%m-%d %H:%M:%S")
    outcome = {"done": "", "failed": "FAILED", "cut off": "was cut off"}[change["outcome"]]
    took = duration(change["seconds"] or 0.0)
    count = plural(len(change["changes"]), "change") if change["changes"] else ""
    what = change["what"] + (f" [{change['deployment']}]" if named else "")
    parts = (at, _who(change), what, outcome, count, took)
    console.say("  ".join(part for part in parts if part), "bad" if outcome else "")
    for line in change["message"].splitlines():
        console.say(f"    {line}")
    for line in change["changes"]:
        console.say(f"    * {line}", "faint")


def _who(change: dict[str, Any]) -> str:
    """Who says they did it, and as whom the host knows them."""
    login = change["login"] + (f" from {change['from']}" if change["from"] else "")
    return f"{change['operator']} ({login})" if login else str(change["operator"])


def _moment(at: str) -> float:
    try:
        return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
