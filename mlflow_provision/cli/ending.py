"""The last words of a setup: how long it took, how to reach the server, where the password is, how to use it."""

from __future__ import annotations

import json
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
    if needs_tunnel(deployment):
        console.say(f"  Tunnel    {tunnel_command(deployment)}")
        console.say(f"  Web page  {address(deployment)} (through the tunnel)")
        console.say(f"            ({program()} open {name} does both)")
    else:
        console.say(f"  Web page  {address(deployment)}")
    console.say(f"  User      {deployment.auth.admin_username}")
    console.say(f"  Password  {_password_place(want)}")
    console.say(f"            ({program()} env {name} prints it)")
    console.say(f"  Settings  {short(want.path)}")
    console.say()
    console.say(f"Three lines of Python that use it, {_which_python(prepared, console.home)}:", "strong")
    for line in three_lines(name):
        console.show(line)  # not indented: Python would not take them


def three_lines(name: str) -> list[str]:
    """They find the server and log in, without the password in them; 80 columns for a short name."""
    return [
        "import json, mlflow, os",
        f"os.environ |= json.load(os.popen({json.dumps(f'{program()} env {name} --format json')}))",
        'mlflow.log_metric("m", 1)',
    ]


def _which_python(prepared: Prepared, home: str) -> str:
    """One that has MLflow: on this machine there is that of the server."""
    deployment = prepared.deployment
    if deployment.host != "local":
        return "in any Python that has mlflow"
    path = f"{prepared.facts['root']['path']}/{deployment.name}/venv/bin/python"
    below_home = bool(home) and path.startswith(f"{home}/")
    return "in " + ("~/" + shlex.quote(path.removeprefix(f"{home}/")) if below_home else shlex.quote(path))


def _password_place(want: Wanted) -> str:
    from mlflow_provision.config import ENVIRONMENT, secrets_path

    if os.environ.get(ENVIRONMENT["admin_password"]):
        return f"in the variable {ENVIRONMENT['admin_password']}"
    return f"in {short(secrets_path(want.secrets_beside))}"


def short(path: Path) -> str:
    """With `~` for one's home."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
