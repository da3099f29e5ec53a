"""The last words of a setup: how long it took, how to reach the server, where the password is, how to use it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_provision.cli.address import address, needs_tunnel, tunnel_command
from mlflow_provision.cli.program import program
from mlflow_provision.console.text import duration, plural

if TYPE_CHECKING:
    from mlflow_provision.cli.target import Wanted
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console
    from mlflow_provision.provision import Prepared


def say_ending(console: Console, want: Wanted, prepared: Prepared, changes: int) -> None:
    """After changes were applied and verified."""
    deployment = prepared.deployment
    record(console, deployment)
    took = duration(console.seconds) or "no time"
    console.say()
    what = f"{deployment.name} runs MLflow {deployment.mlflow.version} and is verified"
    console.say(f"{what}: {plural(changes, 'change')}, {took}.", "good")
    if prepared.first:
        _say_use(console, want, prepared)
    else:
        console.say(f"  {address(deployment)}" + (" through the tunnel" if needs_tunnel(deployment) else ""))


def say_unchanged(console: Console, prepared: Prepared) -> None:
    """When everything was as it should be."""
    record(console, prepared.deployment)
    console.say(
        f"No changes: {prepared.deployment.name} is as it should be ({duration(console.seconds) or 'at once'}).", "good"
    )


def record(console: Console, deployment: Deployment) -> None:
    """What a program needs to use the server."""
    console.document.details["server"] = {
        "url": address(deployment),
        "tunnel": tunnel_command(deployment) if needs_tunnel(deployment) else None,
        "username": deployment.auth.admin_username,
        "mlflow_version": deployment.mlflow.version,
    }


def _say_use(console: Console, want: Wanted, prepared: Prepared) -> None:
    deployment = prepared.deployment
    name = deployment.name
    console.say()
    console.say(
        f"  Web page  {address(deployment)}" + (" (through the tunnel below)" if needs_tunnel(deployment) else "")
    )
    console.say(f"  User      {deployment.auth.admin_username}")
    console.say(f"  Password  {_password_place(want)}")
    console.say(f"            ({program()} env {name} prints it)")
    console.say(f"  Settings  {_short(want.path)}")
    console.say()
    console.say("Three lines to use it from a shell:", "strong")
    for line in _three_lines(prepared, console.home):
        console.say("  " + line)


def _three_lines(prepared: Prepared, home: str) -> list[str]:
    """For this machine they work as they are; from afar they need a Python that has MLflow."""
    deployment = prepared.deployment
    python = "python"
    if deployment.host == "local":
        path = f"{prepared.facts['root']['path']}/{deployment.name}/venv/bin/python"
        below_home = bool(home) and path.startswith(f"{home}/")
        python = "~/" + shlex.quote(path.removeprefix(f"{home}/")) if below_home else shlex.quote(path)
    lines = [
        f'eval "$({program()} env {deployment.name})"',
        f"{python} -c \"import mlflow; mlflow.log_metric('m', 1)\"",
    ]
    if needs_tunnel(deployment):
        return [tunnel_command(deployment), *lines]
    return [*lines, f"{program()} status {deployment.name}"]


def _password_place(want: Wanted) -> str:
    from mlflow_provision.config import ENVIRONMENT, secrets_path

    if os.environ.get(ENVIRONMENT["admin_password"]):
        return f"in the variable {ENVIRONMENT['admin_password']}"
    return f"in {_short(secrets_path(want.secrets_beside))}"


def _short(path: Path) -> str:
    """With `~` for one's home."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
