"""`user permission`: what a user may do with an experiment, a model, a prompt; and what everybody may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.command import reports, shown
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.user.reached import asked_server
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.users import Reached

LEVELS = ["READ", "USE", "EDIT", "MANAGE", "DENY"]
DEFAULTS = ["READ", "USE", "EDIT", "MANAGE", "NO_PERMISSIONS"]
KINDS = {"experiment": "experiment", "model": "registered_model", "prompt": "prompt"}


@click.command("permission")
@click.argument("username", required=False)
@named
@click.option("--experiment", metavar="EXPERIMENT", help="An experiment, by its name or id; '*' for all.")
@click.option("--model", metavar="MODEL", help="A registered model; '*' for all.")
@click.option("--prompt", metavar="PROMPT", help="A prompt; '*' for all.")
@click.option("--on", "other", metavar="TYPE:ID", help="Anything else that MLflow knows: gateway_endpoint:ID, …")
@click.option(
    "--grant",
    "level",
    metavar="LEVEL",
    type=click.Choice(LEVELS, case_sensitive=False),
    help=f"Give this permission: {', '.join(LEVELS)}.",
)
@click.option("--revoke", is_flag=True, help="Take back what was given.")
@click.option(
    "--default",
    metavar="LEVEL",
    type=click.Choice(DEFAULTS, case_sensitive=False),
    help="What users may do with what others made, where they were given nothing; also NO_PERMISSIONS.",
)
@click.option("--yes", "-y", is_flag=True, help="With --default: apply the plan without asking.")
@accept_flag
@reports
def permission_command(
    console: Console,
    username: str | None,
    name: str | None,
    level: str | None,
    revoke: bool,
    default: str | None,
    yes: bool,
    accept_new_host_key: bool,
    **things: Any,
) -> ExitCode | None:
    """Show what a user may do; with --grant or --revoke, change it for one experiment, model or prompt.

    \b
    mlflow-provision user permission ana
    mlflow-provision user permission ana --experiment churn --grant EDIT
    mlflow-provision user permission ana --experiment churn --revoke
    mlflow-provision user permission --experiment churn     who may do what
    mlflow-provision user permission --default NO_PERMISSIONS

    Administrators may do everything. READ lets look, USE lets call (endpoints, models), EDIT lets write, MANAGE lets
    delete and share, DENY keeps out.
    """
    resource = _resource(things)
    if default:
        return _set_default(
            console, username, name, default.upper(), resource or level or revoke, yes, accept_new_host_key
        )
    username, name = _who(username, name, resource)
    if level or revoke:
        _check_change(username, level, revoke, resource)
    with asked_server(console, name, accept_new_host_key) as (reached, _):
        if level or revoke:
            _change(console, reached, str(username), resource or {}, level)
        else:
            _show(console, reached, username or "", resource)
    return None


def _resource(things: dict[str, Any]) -> dict[str, str] | None:
    given = [(kind, word) for kind, word in things.items() if word is not None]
    if not given:
        return None
    if len(given) > 1:
        options = " and ".join(f"--{'on' if kind == 'other' else kind}" for kind, _ in given)
        raise ProvisionError(f"{options} are two things", "give one of them", ExitCode.USAGE)
    kind, word = given[0]
    if kind != "other":
        return {"type": KINDS[kind], "name": word}
    kind, mark, word = word.partition(":")
    if not (kind and mark and word):
        raise ProvisionError("--on: expected TYPE:ID", "for example --on gateway_endpoint:ID", ExitCode.USAGE)
    return {"type": kind, "name": word}


def _who(username: str | None, name: str | None, resource: dict[str, str] | None) -> tuple[str | None, str | None]:
    """With a thing the USERNAME may be left out: one word that names a deployment is the deployment."""
    from mlflow_provision.config import names

    if resource and username and not name and username in names():
        return None, username
    if not username and not resource:
        raise ProvisionError(
            "the permissions of whom, or on what?",
            "give a USERNAME, or --experiment, --model or --prompt",
            ExitCode.USAGE,
        )
    return username, name


def _check_change(username: str | None, level: str | None, revoke: bool, resource: dict[str, str] | None) -> None:
    if level and revoke:
        raise ProvisionError("--grant and --revoke exclude each other", "keep one of them", ExitCode.USAGE)
    if not username:
        raise ProvisionError("--grant and --revoke: for whom?", "give a USERNAME", ExitCode.USAGE)
    if not resource:
        raise ProvisionError(
            "--grant and --revoke: on what?", "add --experiment, --model, --prompt or --on", ExitCode.USAGE
        )


def _change(console: Console, reached: Reached, username: str, resource: dict[str, str], level: str | None) -> None:
    from mlflow_provision import users

    with stoppable(console, reached.host):
        events = (
            users.grant(reached, username, resource, level.upper())
            if level
            else users.revoke(reached, username, resource)
        )
        console.steps(events, shown=())
    answer = console.answer
    console.document.details["permission"] = answer
    thing = _label(answer["resource"])
    if answer["before"] == answer["permission"]:
        there = f"has {answer['before']} on {thing} already" if level else f"was given nothing on {thing}"
        console.say(f"{username} {there}.")
    elif level:
        before = f", instead of {answer['before']}" if answer["before"] else ""
        console.say(f"{username} has {answer['permission']} on {thing} now{before}.", "good")
    else:
        console.say(f"{username} was given {answer['before']} on {thing}, and has it no more.", "good")
        console.say(f"  What is left is what their roles and the default ({_default(reached)}) let them do.")


def _show(console: Console, reached: Reached, username: str, resource: dict[str, str] | None) -> None:
    from mlflow_provision import users

    with console.busy("Asking the server"):
        found = users.permissions(reached, username, resource)
    console.document.details["permissions"] = found
    if resource:
        console.say(f"Who may do what with {_label(found['resource'])}:", "strong")
        rows = [(one["username"], one["permission"] or _default(reached), _reason(one)) for one in found["users"]]
        console.table(("USER", "PERMISSION", "BECAUSE"), rows)
        return
    (user,) = found["users"]
    if user["admin"]:
        console.say(f"{username} is an administrator, and may do everything.", "strong")
    if user["grants"]:
        console.table(("ON", "PERMISSION", "BY"), [_row(grant) for grant in user["grants"]])
    elif not user["admin"]:
        console.say(f"{username} was given nothing of their own.")
        words = ("user", "permission", username, reached.deployment.name)
        console.say(f"  Give: {shown(*words, '--experiment', 'EXPERIMENT', '--grant', 'EDIT')}")
    if not user["admin"]:
        console.say(f"On everything else of others: {_default(reached)}.", "faint")


def _row(grant: dict[str, Any]) -> tuple[str, str, str]:
    by = f"the role {grant['role']}" if grant["role"] else "a grant"
    return _label(grant), grant["permission"], by


def _reason(one: dict[str, Any]) -> str:
    if one["admin"]:
        return "administrator"
    return "a grant" if one["given"] else "default, or a role"


def _label(thing: dict[str, Any]) -> str:
    kind = thing["type"].replace("_", " ").replace("registered model", "model")
    return f"all {kind}s" if thing["id"] == "*" else f"{kind} {thing['name']}"


def _default(reached: Reached) -> str:
    return reached.deployment.auth.default_permission


def _set_default(
    console: Console,
    username: str | None,
    name: str | None,
    default: str,
    more: object,
    yes: bool,
    accept_new_host_key: bool,
) -> ExitCode | None:
    """It is a line of the deployment file, and `setup` brings it to the host."""
    from mlflow_provision.cli.setup import set_up
    from mlflow_provision.cli.target import Wanted, checked
    from mlflow_provision.config import changed

    if more or (username and name):
        raise ProvisionError(
            "--default is about everybody and everything", "give it alone, with a NAME at most", ExitCode.USAGE
        )
    deployment, path = chosen(username)  # the only word is the deployment
    console.document.deployment = deployment.name
    wanted = checked(changed(deployment, {"auth.default_permission": default}))
    return set_up(console, Wanted(wanted, path), yes, accept_new_host_key)
