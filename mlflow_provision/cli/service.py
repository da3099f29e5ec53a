"""`status`, `start`, `stop`, `restart`: each returns when what it says is true."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.address import address
from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.console.text import ago, elapsed, size
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
        _say(console, deployment, status, facts, stopping=verb == "stop")
        wanted = not status["running"] if verb == "stop" else status["healthy"]
        return None if wanted else ExitCode.FAILED

    return command


def _say(console: Console, deployment: Deployment, status: Status, facts: dict[str, Any], stopping: bool) -> None:
    version = (facts["applied"] or {}).get("mlflow_version")
    console.document.details["status"] = {
        **status,
        "mlflow_version": version,
        "port": deployment.mlflow.port,
        "url": address(deployment),
    }
    healthy = status["healthy"]
    if not status["running"]:
        console.say(f"{deployment.name} is not running", "" if stopping else "bad")
    else:
        console.say(
            f"{deployment.name} is running and " + ("healthy" if healthy else "not healthy"),
            "good" if healthy else "bad",
        )
    for label, value in _rows(deployment, status, version):
        console.say(f"  {label:<9} {value}")


def _rows(deployment: Deployment, status: Status, version: str | None) -> list[tuple[str, str]]:
    rows = [("problem", line) for line in status["problem"].splitlines()]
    rows += [("host", deployment.host), ("MLflow", version or "not set up"), ("address", address(deployment))]
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
    if backup := status.get("backup"):
        rows += backup_rows(backup, time.time())
    return rows


def backup_rows(backup: dict[str, Any], now: float) -> list[tuple[str, str]]:
    """How backups fare: the last one, what went wrong since, and when the next one comes. `now`: seconds since 1970."""
    rows = [("backup", _last_backup(backup, now))]
    if failed := backup.get("failed"):
        rows.append(("", f"{failed['what']} failed {ago(failed['at'], now)}: {failed['message']}"))
        rows += [("", line) for line in failed["hint"].splitlines()]
    if backup["next"] is not None:
        rows.append(("", f"the next one in {elapsed(max(0.0, backup['next'] - now))}"))
    elif backup["scheduled"]:
        rows.append(("", "its timer does not run: mlflow-provision setup puts that right"))
    return rows


def _last_backup(backup: dict[str, Any], now: float) -> str:
    made, verified = backup.get("made"), backup.get("verified")
    if not made:
        return "none yet"
    told = f"{ago(made['at'], now)}, {size(made['stored_size'])}"
    return f"{told}, last verified {ago(verified['at'], now)}" if verified else f"{told}, never verified"


status_command = _command(
    "status", "Looking at", "Say whether a server runs and is healthy; if not, the exit code is 1."
)
start_command = _command("start", "Starting", "Start a server, and wait until it is healthy.")
stop_command = _command("stop", "Stopping", "Stop a server, and wait until all of it is gone.")
restart_command = _command("restart", "Restarting", "Restart a server, and wait until it is healthy.")
