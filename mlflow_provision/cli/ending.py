"""The last words of a setup: how long it took, how to reach the server, where the password is, how to use it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_provision.cli.address import address, needs_tunnel, tunnel_command
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
    lines = [f'eval "$(mlflow-provision env {name})"']
    if needs_tunnel(deployment):
        lines.insert(0, tunnel_command(deployment))
        lines.append("""python -c "import mlflow; mlflow.log_metric('works', 1)\"""")
    elif deployment.host == "local":
        python = console.shortened(shlex.quote(f"{prepared.facts['root']['path']}/{name}/venv/bin/python"))
        lines.append(f"{python} -c \"import mlflow; mlflow.log_metric('works', 1)\"")
        lines.append(f"mlflow-provision status {name}")
    else:
        lines.append("""python -c "import mlflow; mlflow.log_metric('works', 1)\"""")
        lines.append(f"mlflow-provision status {name}")
    console.say()
    console.say(
        f"  Web page  {address(deployment)}" + (" (through the tunnel below)" if needs_tunnel(deployment) else "")
    )
    console.say(f"  Login     {deployment.auth.admin_username}, with the password {_password_place(want)}")
    console.say(f"  Settings  {_short(want.path)}")
    console.say()
    console.say("Three lines to use it from a shell:", "strong")
    for line in lines:
        console.say("  " + line)


def _password_place(want: Wanted) -> str:
    from mlflow_provision.config import ENVIRONMENT, secrets_path

    if os.environ.get(ENVIRONMENT["admin_password"]):
        return f"in {ENVIRONMENT['admin_password']}"
    return f"in {_short(secrets_path(want.secrets_beside))}"


def _short(path: Path) -> str:
    """With `~` for one's home."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
