"""`tunnel`: a way to a server that is behind loopback on its host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.program import program
from mlflow_provision.console.text import plural
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console
    from mlflow_provision.tunnel.states import Status


@click.command("tunnel")
@named
@click.option("--local-port", type=click.IntRange(1024, 65535), metavar="PORT", help="Default: a free one from 5001.")
@click.option("-b", "--background", is_flag=True, help="Let it run on when the terminal is closed.")
@click.option("--list", "listing", is_flag=True, help="Show the tunnels that run.")
@click.option("--stop", "stopping", is_flag=True, help="End the tunnel NAME.")
@click.option("--all", "everything", is_flag=True, help="With --stop: end all of them.")
@reports
def tunnel_command(
    console: Console,
    name: str | None,
    local_port: int | None,
    background: bool,
    listing: bool,
    stopping: bool,
    everything: bool,
) -> ExitCode | None:
    """Reach a server from this machine, over SSH, until Ctrl-C.

    It mends itself after a lost link, a restart, or a suspended laptop, and says so. With --json every change is one
    JSON object on a line of its own.
    """
    _refuse_nonsense(name, local_port, background, listing, stopping, everything)
    if listing:
        _list(console)
    elif stopping:
        _stop(console, name, everything)
    else:
        deployment, path = chosen(name)
        console.document.deployment = deployment.name
        if deployment.host == "local":
            _not_needed(console, deployment)
        elif background:
            _background(console, deployment, path, local_port)
        else:
            return _foreground(console, deployment, path, local_port)
    return None


def _refuse_nonsense(
    name: str | None, local_port: int | None, background: bool, listing: bool, stopping: bool, everything: bool
) -> None:
    if listing and (name or stopping or background or local_port or everything):
        raise ProvisionError("--list stands alone", "mlflow-provision tunnel --list", ExitCode.USAGE)
    if everything and not stopping:
        raise ProvisionError("--all belongs to --stop", "mlflow-provision tunnel --stop --all", ExitCode.USAGE)
    if stopping and (background or local_port):
        raise ProvisionError("--stop starts nothing", "mlflow-provision tunnel --stop NAME", ExitCode.USAGE)
    if everything and name:
        raise ProvisionError(f"{name} or --all?", f"mlflow-provision tunnel --stop {name}", ExitCode.USAGE)


def _not_needed(console: Console, deployment: Deployment) -> None:
    from mlflow_provision.cli.address import address

    url = address(deployment)
    console.document.details["tunnel"] = {"name": deployment.name, "url": url}
    console.say(f"{deployment.name} runs on this machine and needs no tunnel: {url}", "good")


def _list(console: Console) -> None:
    from mlflow_provision.cli.tunnel_shown import row
    from mlflow_provision.tunnel.registry import all_running

    found = all_running()
    console.document.details["tunnels"] = [status.as_json() for status in found]
    if not found:
        console.say("No tunnel runs. Open one: " + f"{program()} tunnel NAME --background")
        return
    console.table(("NAME", "ADDRESS", "STATE", "SINCE", "BYTES", "HOST"), [row(status) for status in found])


def _stop(console: Console, name: str | None, everything: bool) -> None:
    from mlflow_provision.tunnel.opening import stopped
    from mlflow_provision.tunnel.registry import all_running

    found = all_running()
    meant = found if everything else [_meant(found, name)]
    console.document.details["stopped"] = [status.name for status in meant]
    for status in meant:
        with console.busy(f"Ending the tunnel to {status.name}"):
            gone = stopped(status)
        if not gone:
            raise ProvisionError(
                f"the tunnel to {status.name} does not end", f"end its process yourself: kill {status.pid}"
            )
        console.say(f"The tunnel to {status.name} has ended.")
    if not meant:
        console.say("No tunnel runs.")


def _meant(found: list[Status], name: str | None) -> Status:
    names = [status.name for status in found]
    if name:
        if name not in names:
            there_is = f": there is one to {', '.join(names)}" if names else ": there is none"
            raise ProvisionError(f"no tunnel to {name} runs{there_is}", "mlflow-provision tunnel --list")
        return found[names.index(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ProvisionError("no tunnel runs", "mlflow-provision tunnel --list")
    raise ProvisionError(
        f"which one? There are {plural(len(found), 'tunnel')}: {', '.join(names)}",
        "name one of them, or all: mlflow-provision tunnel --stop --all",
        ExitCode.USAGE,
    )


def _background(console: Console, deployment: Deployment, path: Path, local_port: int | None) -> None:
    from mlflow_provision.cli.tunnel_shown import already, say_where
    from mlflow_provision.tunnel.opening import answers, kept, no_answer

    with console.busy(f"Opening a tunnel to {deployment.name}"):
        status, started = kept(deployment, path, local_port)
    console.document.details["tunnel"] = status.as_json()
    if not answers(status):
        raise no_answer(status)
    if started:
        say_where(console, status)
    else:
        already(console, status)


def _foreground(console: Console, deployment: Deployment, path: Path, local_port: int | None) -> ExitCode | None:
    from mlflow_provision.cli.tunnel_shown import Shown, already
    from mlflow_provision.tunnel.opening import failure, kept, same_or_refused
    from mlflow_provision.tunnel.registry import running
    from mlflow_provision.tunnel.states import State
    from mlflow_provision.tunnel.supervised import FOREGROUND, LEASED, supervise

    status = running(deployment.name)
    if status:
        same_or_refused(status, deployment, local_port)
        if status.mode == LEASED:  # it would end with the program it was opened for
            status, _ = kept(deployment, path, local_port)
        console.document.details["tunnel"] = status.as_json()
        already(console, status)
        return None
    shown = Shown(console, deployment)
    try:
        final = supervise(deployment, path, local_port, FOREGROUND, shown, asks=console.asks)
    except KeyboardInterrupt:
        shown.ended("ended by Ctrl-C")
        return ExitCode.INTERRUPTED
    finally:
        console.still()
    if final.state is not State.STOPPED:
        raise failure(final)
    return None
