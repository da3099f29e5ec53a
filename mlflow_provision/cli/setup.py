"""`setup`: look, plan, ask, apply, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.agent.protocol import CHANGED, Result
from mlflow_provision.cli.command import reports, shown, typed
from mlflow_provision.cli.connection import accept_flag, connected, where
from mlflow_provision.cli.flags import given, server_flags
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import confirmed
from mlflow_provision.cli.target import Wanted, complete_target, wanted
from mlflow_provision.cli.verified import looked_at, verified
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.host import Host
    from mlflow_provision.provision import Prepared


@click.command("setup")
@click.argument("target", required=False, shell_complete=complete_target)
@click.option(
    "--config", type=click.Path(dir_okay=False), metavar="FILE", help="A deployment file instead of a TARGET."
)
@click.option("--name", metavar="NAME", help="Of the deployment.  [default: local, or server]")
@server_flags
@click.option("--artifacts-moved", is_flag=True, help="The artifacts are already at the new place.")
@click.option("--yes", "-y", is_flag=True, help="Apply the plan without asking.")
@click.option("--dry-run", is_flag=True, help="Show the plan with all diffs, change nothing.")
@click.option("--exit-code", is_flag=True, help="With --dry-run: 4 if changes are pending.")
@accept_flag
@reports
def setup_command(
    console: Console,
    target: str | None,
    config: str | None,
    name: str | None,
    artifacts_moved: bool,
    yes: bool,
    dry_run: bool,
    exit_code: bool,
    accept_new_host_key: bool,
    **flags: Any,
) -> ExitCode | None:
    """Make a host run a verified MLflow server. Running it again brings the server up to date, or changes nothing.

    TARGET is `local` (this machine), what you would give to ssh (`ubuntu@host`, an alias), or the name of a deployment.

    \b
    mlflow-provision setup local
    mlflow-provision setup ubuntu@host --artifacts s3://bucket/ml --instance-role
    mlflow-provision setup server --port 5001    change what is there
    """
    if exit_code and not dry_run:
        raise ProvisionError("--exit-code belongs to --dry-run", "add --dry-run, or use plan", ExitCode.USAGE)
    want = wanted(target, name, config, given(flags))
    if dry_run:
        return show_plan(console, want, exit_code, accept_new_host_key, artifacts_moved)
    return _set_up(console, want, yes, accept_new_host_key, artifacts_moved)


def show_plan(
    console: Console, want: Wanted, exit_code: bool, accept_new_host_key: bool, artifacts_moved: bool = False
) -> ExitCode | None:
    """The plan with all diffs; nothing is touched, here or there."""
    with connected(console, want.deployment, accept_new_host_key) as host:
        prepared = _prepare(console, host, want, artifacts_moved)
        changes, _ = _plan(console, host, want, prepared, diffs=True)
    if changes:
        console.say(f"Nothing was changed. To apply: {_to_apply(prepared.deployment.name)}")
    else:
        console.say("No changes.", "good")
    return ExitCode.CHANGES_PENDING if exit_code and changes else None


def _to_apply(name: str) -> str:
    """What applies the plan that was shown: the same command without its --dry-run."""
    command, *words = typed()
    if command == "plan":
        return f"mlflow-provision setup {name}"
    return shown(command, *(word for word in words if word not in ("--dry-run", "--exit-code")))


def _set_up(
    console: Console, want: Wanted, yes: bool, accept_new_host_key: bool, artifacts_moved: bool
) -> ExitCode | None:
    from mlflow_provision.cli.ending import say_ending, say_unchanged
    from mlflow_provision.cli.keeping import keep

    with connected(console, want.deployment, accept_new_host_key) as host:
        prepared = _prepare(console, host, want, artifacts_moved)
        changes, checks = _plan(console, host, want, prepared, diffs=not prepared.first)
        if changes and not confirmed(console, changes, yes):
            return ExitCode.FAILED
        keep(want, prepared)
        if changes:
            changed = _apply(console, host, prepared)
            # Whoever uses a server that went on running is not disturbed by a kill.
            verified(console, host, prepared, kill="service" in changed)
        else:
            looked_at(console, prepared, checks)
    if changes:
        say_ending(console, want, prepared, changes)
    else:
        say_unchanged(console, prepared)
    return None


def _prepare(console: Console, host: Host, want: Wanted, artifacts_moved: bool) -> Prepared:
    from mlflow_provision.config import load_secrets
    from mlflow_provision.provision import prepare, with_keys

    console.document.deployment = want.deployment.name
    deployment, secrets = with_keys(want.deployment, load_secrets(want.secrets_beside))
    with console.busy("Looking at " + where(deployment)):
        return prepare(host, deployment, secrets, want.port_given, artifacts_moved)


def _plan(console: Console, host: Host, want: Wanted, prepared: Prepared, diffs: bool) -> tuple[int, list[Result]]:
    """How many changes there would be; with none, what a quick look at the server found."""
    from mlflow_provision.cli.planned import say_host, say_plan, say_port
    from mlflow_provision.preflight import warnings
    from mlflow_provision.provision import checks, plan_or_look

    say_host(console, prepared)
    say_port(console, prepared, want.deployment.mlflow.port)
    with console.busy("Comparing"):
        results = console.steps(plan_or_look(host, prepared), shown=())
    changes = say_plan(console, results, diffs)
    for warning in warnings(prepared.deployment) if changes else ():
        console.note(warning)
    return changes, checks(console.answer)


def _apply(console: Console, host: Host, prepared: Prepared) -> set[str]:
    """The ids of the resources that changed."""
    from mlflow_provision.provision import apply

    with stoppable(console, host):
        results = console.steps(apply(host, prepared, f"setup {prepared.deployment.name}"))
    return {result.step for result in results if result.verdict == CHANGED}
