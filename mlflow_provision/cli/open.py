"""`open`: the web page of a server, in the operator's browser."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.program import program

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console


@click.command("open")
@named
@reports
def open_command(console: Console, name: str | None) -> None:
    """Open the web page of a server in the browser, with a tunnel in the background where it needs one.

    Without a browser on this machine the address is printed, and that is all.
    """
    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    url, tunnel = _reached(console, deployment, path)
    shown = _show(url)
    place = _password_place(path)
    console.document.details["page"] = {
        "url": url,
        "browser": shown,
        "username": deployment.auth.admin_username,
        "password_in": place,
    }
    console.say(f"  Web page  {url}" + ("" if shown else "  (there is no browser here to open it)"))
    console.say(f"  User      {deployment.auth.admin_username}")
    if place:
        console.say(f"  Password  in {place}")
        console.say(f"            ({program()} env {deployment.name} prints it)")
    else:
        console.say("  Password  not known on this machine")
    if tunnel:
        console.say(f"  Tunnel    in the background; end it: {program()} tunnel --stop {deployment.name}")


def _password_place(path: Path) -> str | None:
    """The file or the variable that has it; None where nothing has."""
    from mlflow_provision.config import ENVIRONMENT, load_secrets, secrets_beside, secrets_path

    beside = secrets_beside(path)
    if not load_secrets(beside).admin_password:
        return None
    variable = ENVIRONMENT["admin_password"]
    return f"the variable {variable}" if os.environ.get(variable) else str(secrets_path(beside))


def _reached(console: Console, deployment: Deployment, path: Path) -> tuple[str, bool]:
    """The address, and whether a tunnel leads there."""
    from mlflow_provision.tunnel import direct_url, needs_tunnel
    from mlflow_provision.tunnel.opening import answers, kept, no_answer

    if not needs_tunnel(deployment):
        return direct_url(deployment), False
    with console.busy(f"Opening a tunnel to {deployment.name}"):
        status, _ = kept(deployment, path)
    if not answers(status):
        raise no_answer(status)
    return status.url, True


def _show(url: str) -> bool:
    """Was a browser started? Not one that would take over the terminal, as those on servers do."""
    import webbrowser

    graphical = sys.platform != "linux" or any(
        os.environ.get(variable) for variable in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if not graphical:
        return False
    try:
        with _stdout_is_ours():
            return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False


@contextmanager
def _stdout_is_ours() -> Iterator[None]:
    """What browsers have to say goes to stderr: stdout may be a document."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
