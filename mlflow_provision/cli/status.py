"""`status`: one screen for one deployment, or for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag, connected_host
from mlflow_provision.cli.deployments import complete_name
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console
    from mlflow_provision.host import Host
    from mlflow_provision.status import Seen, Watch

Summary = dict[str, Any]


@click.command("status")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_name)
@click.option("-w", "--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.5),
    default=5.0,
    metavar="SECONDS",
    help="With --watch: how often.  [default: 5]",
)
@accept_flag
@reports
def status_command(
    console: Console, names: tuple[str, ...], watch: bool, interval: float, accept_new_host_key: bool
) -> ExitCode | None:
    """Say how servers fare: running since, version, memory, disk, runs, backups, what is not applied yet, warnings.

    Without a NAME all deployments are asked, every host once, several at the same time. The exit code is 1 unless all
    of them run and are healthy, and 3 if all that is wrong is that a host cannot be reached.
    """
    from mlflow_provision.status import Watch

    deployments, unusable = _meant(names)
    alone = len(deployments) == 1 and not unusable
    if alone:
        console.document.deployment = deployments[0].name
    watched = Watch(deployments, _connect(console, accept_new_host_key))
    try:
        if watch:
            return _again_and_again(console, watched, unusable, alone, interval)
        with console.busy(f"Looking at {deployments[0].name}" if alone else "Looking at all of them"):
            seen = watched.look()
        if alone and seen[0].error:
            raise seen[0].error
        return _told(console, _summaries(seen) + unusable, alone)
    finally:
        watched.close()


def _meant(names: tuple[str, ...]) -> tuple[list[Deployment], list[Summary]]:
    """The deployments of these names, else all there are; and without names, those whose file cannot be used."""
    from mlflow_provision.cli.deployments import chosen
    from mlflow_provision.config import deployment_path, load
    from mlflow_provision.config import names as known

    if names or len(known()) < 2:
        wanted = [chosen(name)[0] for name in dict.fromkeys(names)] if names else [chosen(None)[0]]
        return list({deployment.name: deployment for deployment in wanted}.values()), []
    deployments: list[Deployment] = []
    unusable: list[Summary] = []
    for name in known():
        try:
            deployments.append(load(deployment_path(name)))
        except ProvisionError as error:
            problem = {"message": error.message, "hint": error.hint, "code": int(error.code)}
            unusable.append({"name": name, "host": None, "reachable": False, "error": problem, "warnings": []})
    return deployments, unusable


def _connect(console: Console, accept_new_host_key: bool) -> Callable[[Deployment], Host]:
    """How a deployment's host is reached: one question to the person at a time, whoever asks."""
    asking = threading.Lock()

    def connect(deployment: Deployment) -> Host:
        return connected_host(console, deployment, accept_new_host_key, asking)

    return connect


def _summaries(seen: Sequence[Seen]) -> list[Summary]:
    from mlflow_provision.status import summary

    return [summary(one) for one in seen]


def _told(console: Console, found: list[Summary], alone: bool) -> ExitCode | None:
    from mlflow_provision.cli.status_shown import say_one
    from mlflow_provision.cli.status_table import say_all

    console.document.details["deployments"] = found
    if alone:
        console.document.details["status"] = found[0]
        say_one(console, found[0], time.time())
    else:
        say_all(console, found, time.time())
    return _code(found)


def _code(found: list[Summary]) -> ExitCode | None:
    if any(one["reachable"] and not one["healthy"] for one in found):
        return ExitCode.FAILED
    bad = [one for one in found if not one["reachable"]]
    if not bad:
        return None
    unreachable = all(one["error"]["code"] == ExitCode.UNREACHABLE for one in bad)
    return ExitCode.UNREACHABLE if unreachable else ExitCode.FAILED


def _again_and_again(
    console: Console, watched: Watch, unusable: list[Summary], alone: bool, interval: float
) -> ExitCode:
    """Until Ctrl-C. A host that is away for a while is shown as that."""
    from mlflow_provision.cli.status_shown import watched_line

    try:
        with console.whole_screen():
            while True:
                began = time.monotonic()
                found = _summaries(watched.look()) + unusable
                with console.frame():
                    console.say(watched_line(interval), "faint")
                    _told(console, found, alone)
                console.event({"event": "status", "time": time.time(), "deployments": found})
                time.sleep(max(0.1, interval - (time.monotonic() - began)))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
