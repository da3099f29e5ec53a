"""`start`, `stop`, `restart`: each returns when what it says is true, and says what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.address import address
from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.console.text import duration, elapsed, size
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console

Status = dict[str, Any]


def _command(verb: str, doing: str, text: str) -> click.Command:
    @click.command(verb, help=text)
    @named
    @accept_flag
    @reports
    def command(console: Console, name: str | None, accept_new_host_key: bool) -> ExitCode | None:
        from mlflow_provision.provision import control

        deployment, _ = chosen(name)
        console.document.deployment = deployment.name
        with (
            connected(console, deployment, accept_new_host_key) as host,
            stoppable(console, host),
            console.busy(f"{doing} {deployment.name}"),
        ):
            status, facts = control(host, verb, deployment)
        version = (facts["applied"] or {}).get("mlflow_version")
        url = address(deployment)
        console.document.details["status"] = {
            **status,
            "mlflow_version": version,
            "port": deployment.mlflow.port,
            "url": url,
        }
        _say(console, deployment, verb, status)
        for label, value in _rows(deployment, verb, status, version or "not set up", url):
            console.say(f"  {label:<9} {value}")
        wanted = not status["running"] if verb == "stop" else status["healthy"]
        return None if wanted else ExitCode.FAILED

    return command


def _say(console: Console, deployment: Deployment, verb: str, status: Status) -> None:
    """What is true now, and whether it was so before."""
    name, before = deployment.name, status.get("before") or {}
    if not status["running"]:
        already = verb == "stop" and not before.get("running", True)
        text = f"{name} was not running" if already else f"{name} is not running"
        console.say(text, "" if verb == "stop" else "bad")
        return
    already = verb == "start" and status["healthy"] and before.get("pid") == status["pid"]
    how = "was running already, and is " if already else "is running and "
    console.say(f"{name} {how}" + ("healthy" if status["healthy"] else "not healthy"), _style(verb, status))


def _style(verb: str, status: Status) -> str:
    return "good" if status["healthy"] and verb != "stop" else "bad"


def _rows(deployment: Deployment, verb: str, status: Status, version: str, url: str) -> list[tuple[str, str]]:
    before = status.get("before") or {}
    rows = [("upgrade", "had been interrupted, and is taken back")] if status.get("taken_back") else []
    rows += [("problem", line) for line in status["problem"].splitlines()]
    if before.get("problem") and verb != "stop":
        rows += [("before", line) for line in before["problem"].splitlines()]
    if before.get("running") and before.get("pid") != status["pid"]:
        rows.append(("before", f"it had been up for {elapsed(before['seconds'])}"))
    if took := duration(status.get("took", 0.0)):
        rows.append(("took", took + ("; it did not end by itself, and was killed" if status.get("killed") else "")))
    rows += [("host", deployment.host), ("MLflow", version), ("address", url)]
    if status["running"]:
        rows += [
            ("up for", elapsed(status["seconds"])),
            ("process", str(status["pid"])),
            ("memory", size(status["memory"])),
        ]
    if deployment.scope == "system":
        rows.append(("at boot", "starts by itself" if status["enabled"] else "stays down"))
    if status["restarts"]:
        rows.append(("restarts", f"{status['restarts']} after a crash"))
    return rows


start_command = _command("start", "Starting", "Start a server, and wait until it is healthy.")
stop_command = _command("stop", "Stopping", "Stop a server, and wait until all of it is gone.")
restart_command = _command("restart", "Restarting", "Restart a server, and wait until it is healthy.")
