"""`setup`: look, plan, ask, apply, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.agent.protocol import CHANGED, Result
from mlflow_provision.cli.command import in_earnest, reports, typed
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
@click.option("--adopt", is_flag=True, help="Take over the server that a shell script made there.")
@click.option("--create-bucket", is_flag=True, help="Make the bucket of --artifacts if it is not there yet.")
@click.option("--defaults", is_flag=True, help="Take the recommended answer to every question.")
@click.option("--resume", is_flag=True, help="Go on with the questions where Ctrl-C ended them.")
@click.option("--save-only", is_flag=True, help="Save the deployment file; change nothing on the host.")
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
    adopt: bool,
    create_bucket: bool,
    defaults: bool,
    resume: bool,
    save_only: bool,
    artifacts_moved: bool,
    yes: bool,
    dry_run: bool,
    exit_code: bool,
    accept_new_host_key: bool,
    **flags: Any,
) -> ExitCode | None:
    """Make a host run a verified MLflow server. Running it again brings the server up to date, or changes nothing.

    Without a TARGET, on a terminal, it asks for everything, shows a summary and the plan, and starts when you say so.
    What is given as an option is not asked.

    TARGET is `local` (this machine), what you would give to ssh (`ubuntu@host`, an alias), or the name of a deployment.

    \b
    mlflow-provision setup                       asks
    mlflow-provision setup local
    mlflow-provision setup ubuntu@host --artifacts s3://bucket/ml --instance-role
    mlflow-provision setup ubuntu@host --adopt   take over what a script made
    mlflow-provision setup server --port 5001    change what is there
    """
    if exit_code and not dry_run:
        raise ProvisionError("--exit-code belongs to --dry-run", "add --dry-run, or use plan", ExitCode.USAGE)
    keys = given(flags)
    if resume or defaults or save_only or not (target or config):
        from mlflow_provision.cli.decision import Manner
        from mlflow_provision.cli.guided import guided

        refuse_together(config=config, adopt=adopt, dry_run=dry_run, create_bucket=create_bucket)
        manner = Manner(defaults, resume, yes, save_only, accept_new_host_key, artifacts_moved)
        return guided(console, target, name, keys, manner)

    def plainly() -> ExitCode | None:
        want = wanted(target, name, config, keys)
        if dry_run:
            return show_plan(console, want, exit_code, accept_new_host_key, artifacts_moved)
        return set_up(console, want, yes, accept_new_host_key, artifacts_moved, create_bucket)

    if not adopt:
        return plainly()
    from mlflow_provision.cli.adopting import adopt_over

    # Where its artifacts are is not known yet, and half of that would be refused.
    want = wanted(target, name, config, {key: keys[key] for key in keys if not key.startswith("artifacts.")})
    code = adopt_over(console, want, keys, yes, dry_run, accept_new_host_key, otherwise=plainly)
    return None if code is ExitCode.CHANGES_PENDING and not exit_code else code


def refuse_together(**options: Any) -> None:
    """The questions have no use for these."""
    for option in filter(options.get, options):
        raise ProvisionError(
            f"--{option.replace('_', '-')} needs a TARGET, and no questions", "leave out one of them", ExitCode.USAGE
        )


def show_plan(
    console: Console, want: Wanted, exit_code: bool, accept_new_host_key: bool, artifacts_moved: bool = False
) -> ExitCode | None:
    """The plan with all diffs; nothing is touched, here or there."""
    with connected(console, want.deployment, accept_new_host_key) as host:
        prepared = prepared_for(console, host, want, artifacts_moved)
        changes, _ = _plan(console, host, want, prepared, diffs=True)
    if changes:
        console.say(f"Nothing was changed. To apply: {_to_apply(prepared.deployment.name)}")
    else:
        console.say("No changes.", "good")
    return ExitCode.CHANGES_PENDING if exit_code and changes else None


def _to_apply(name: str) -> str:
    """What applies the plan that was shown: the same command without its --dry-run."""
    return f"mlflow-provision setup {name}" if typed()[0] == "plan" else in_earnest()


def set_up(
    console: Console,
    want: Wanted,
    yes: bool,
    accept_new_host_key: bool,
    artifacts_moved: bool = False,
    create_bucket: bool = False,
) -> ExitCode | None:
    """Look, plan, ask, apply, verify."""
    from mlflow_provision.cli.bucket import make_bucket, planned_bucket
    from mlflow_provision.provision import AdoptionUnfinished

    new_bucket = planned_bucket(want.deployment) if create_bucket else ""
    with connected(console, want.deployment, accept_new_host_key) as host:
        try:
            prepared = prepared_for(console, host, want, artifacts_moved)
        except AdoptionUnfinished:
            from mlflow_provision.cli.adopting import adopt_on

            return adopt_on(console, host, want, {}, yes)
        changes, checks = _plan(console, host, want, prepared, diffs=not prepared.first)
        if new_bucket:
            console.note(f"the bucket {new_bucket} is made first: private, versioned, encrypted, TLS only")
        if changes and not confirmed(console, changes, yes):
            return ExitCode.FAILED
        if new_bucket:
            make_bucket(console, prepared.deployment, new_bucket)
        carry_out(console, host, want, prepared, changes, checks)
    return None


def carry_out(
    console: Console, host: Host, want: Wanted, prepared: Prepared, changes: int, checks: list[Result]
) -> None:
    """What was decided: kept here, applied and verified there. With no changes, only what `checks` found is judged."""
    from mlflow_provision.cli.ending import say_ending, say_unchanged
    from mlflow_provision.cli.keeping import keep

    keep(want, prepared)
    if not changes:
        looked_at(console, prepared, checks)
        say_unchanged(console, prepared)
        return
    changed = _apply(console, host, prepared)
    # Users wait for each start: one more, to prove that a killed server comes back, only where that may have changed.
    kill = "service" in changed and (prepared.first or bool(changed & {"unit", "start-script"}))
    verified(console, host, prepared, kill)
    say_ending(console, want, prepared, changes)


def prepared_for(console: Console, host: Host, want: Wanted, artifacts_moved: bool) -> Prepared:
    from mlflow_provision.config import load_secrets
    from mlflow_provision.deployment_keys import with_keys
    from mlflow_provision.provision import prepare

    console.document.deployment = want.deployment.name
    known = load_secrets(want.secrets_beside) if want.secrets is None else want.secrets
    deployment, secrets = with_keys(want.deployment, known)
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
