"""`setup --adopt`: what was found of the old server, the plan, the move, and what is left to do."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mlflow_provision.agent.adoption import ADOPTED, UNFINISHED
from mlflow_provision.agent.protocol import CHANGED, FAILED, OK, Result
from mlflow_provision.cli.command import in_earnest
from mlflow_provision.cli.connection import connected, where
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import confirmed, say_host, say_plan
from mlflow_provision.cli.target import Wanted, checked
from mlflow_provision.console.text import plural, size
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from mlflow_provision.adoption import Adoption
    from mlflow_provision.console import Console
    from mlflow_provision.host import Host
    from mlflow_provision.provision import Facts


def adopt_on(
    console: Console,
    host: Host,
    want: Wanted,
    keys: Mapping[str, Any],
    yes: bool,
    dry_run: bool = False,
    facts: Facts | None = None,
) -> ExitCode | None:
    """Adopt the old server on this host; `keys` are the flags, which win over its settings. `dry_run`: only look.
    `facts`: what the host said of `want` just now."""
    from mlflow_provision.preflight import warnings

    want, adoption = adoption_for(console, host, want, keys, facts)
    prepared = adoption.prepared
    say_host(console, prepared)
    say_old_server(console, adoption)
    changes = say_plan(console, planned(console, host, adoption), dry_run)
    for note in [*adoption.notes, *warnings(prepared.deployment)]:
        console.note(note)
    if dry_run:
        console.say(f"Nothing was changed. To apply: {in_earnest()}")
        return ExitCode.CHANGES_PENDING
    if not confirmed(console, changes, yes):
        return ExitCode.FAILED
    take_over(console, host, want, adoption)
    return None


def take_over(console: Console, host: Host, want: Wanted, adoption: Adoption) -> None:
    """What was decided: kept here, done there, and told."""
    from mlflow_provision.adoption import adopt
    from mlflow_provision.cli.keeping import keep

    keep(want, adoption.prepared)
    with stoppable(console, host):
        what = f"setup {adoption.prepared.deployment.name} --adopt"
        console.steps(adopt(host, adoption, what), (CHANGED, OK, FAILED))
    _say_ending(console, want, adoption)


def adopt_over(
    console: Console,
    want: Wanted,
    keys: Mapping[str, Any],
    yes: bool,
    dry_run: bool,
    accept_new_host_key: bool,
    otherwise: Callable[[], ExitCode | None],
) -> ExitCode | None:
    """The same over a connection of its own. What was adopted before is an ordinary deployment: `otherwise`."""
    with connected(console, want.deployment, accept_new_host_key) as host:
        facts = _looked(console, host, want)
        if facts["adoption"] != ADOPTED:
            return adopt_on(console, host, want, keys, yes, dry_run, facts)
    return otherwise()


def adoption_for(
    console: Console, host: Host, want: Wanted, keys: Mapping[str, Any], facts: Facts | None = None
) -> tuple[Wanted, Adoption]:
    """What is wanted, with the old server's settings in it, and all that is to be done. Nothing is touched."""
    from mlflow_provision.adoption import impossible, no_credentials, prepare, with_settings
    from mlflow_provision.config import changed, load_secrets
    from mlflow_provision.provision import refuse

    facts = facts or _looked(console, host, want)
    refuse(list(impossible(want.deployment, facts)))
    deployment = changed(with_settings(want.deployment, facts["old_server"]), keys)
    refuse(list(no_credentials(deployment, facts["old_server"])))
    want = replace(want, deployment=checked(deployment))
    secrets = load_secrets(want.secrets_beside) if want.secrets is None else want.secrets
    with console.busy("Looking at " + where(want.deployment)):
        return want, prepare(host, want.deployment, secrets)


def _looked(console: Console, host: Host, want: Wanted) -> Facts:
    from mlflow_provision.provision import look

    console.document.deployment = want.deployment.name
    with console.busy("Looking at " + where(want.deployment)):
        return look(host, want.deployment)[0]


def say_old_server(console: Console, adoption: Adoption) -> None:
    """What was found: a card of a few lines."""
    from mlflow_provision.adoption import summary

    old, details = adoption.old, adoption.details
    state = "running" if old["running"] else "not running"
    if adoption.prepared.facts["adoption"] in UNFINISHED:
        state = "its adoption was interrupted, and goes on"
    unit = f", {old['unit']}" if old["unit"] else ""
    artifacts = old["artifacts"]
    if details["artifact_files"]:
        artifacts += f": {plural(details['artifact_files'], 'file')}, {size(details['artifact_bytes'])}"
    login = (
        f"{old['auth']['admin_username']} (basic auth)" if old["auth"]["on"] else "none: everybody may do everything"
    )
    console.say()
    console.say(
        f"Found   an MLflow {old['version'] or 'of unknown version'} made by a script ({state}{unit})", "strong"
    )
    console.say(f"        Folder     {old['tree']}, of {old['user']}")
    console.say(f"        Address    {old['listen']}, port {old['port']}")
    console.say(f"        Holds      {summary(details, old)}")
    console.say(f"        Artifacts  {artifacts}")
    console.say(f"        Login      {login}")
    if old["aws"].get("credentials") == "keys":
        console.say(
            f"        AWS keys   of the profile {old['aws']['profile']} there: kept in your secrets file from now on"
        )
    console.document.details["old_server"] = old


def planned(console: Console, host: Host, adoption: Adoption) -> list[Result]:
    """What would change, and what would not."""
    from mlflow_provision.provision import plan

    with console.busy("Comparing"):
        results = console.steps(plan(host, adoption.prepared.resources), shown=())
    return [_told(result, adoption) for result in results]


def _told(result: Result, adoption: Adoption) -> Result:
    """A plan reads the host as it is now: what comes with the data is not there yet, and is not created either."""
    administrator = adoption.details["administrator"]["password"]
    if result.step == "database":
        return replace(result, summary="comes with the data; write-ahead mode")
    if result.step == "admin" and administrator:
        same = administrator == adoption.prepared.secrets.admin_password
        return replace(result, summary="comes with the data" + ("" if same else "; gets another password"))
    return result


def _say_ending(console: Console, want: Wanted, adoption: Adoption) -> None:
    from mlflow_provision.cli.ending import say_ending

    answer, old = console.answer, adoption.old
    console.document.changes = answer["changes"]
    console.document.verify = answer["checks"]
    console.document.details["adopted"] = {**answer["adopted"], "backup": answer["backup"], "old_tree": old["tree"]}
    say_ending(console, want, adoption.prepared, answer["changes"])
    counts = answer["adopted"]
    words = (("experiments", "experiment"), ("runs", "run"), ("models", "model"), ("users", "user"))
    said = [plural(counts.get(key, 0), word) for key, word in words]
    said.append(plural(counts.get("artifacts", 0), "artifact file"))
    console.say()
    console.say(f"Adopted: {', '.join(said)}; all that was readable before is readable now.", "good")
    console.say(f"  The old server is stopped, and its folder is as it was: {old['tree']}")
    console.say(f"  When you are satisfied, on the host:  {_removal(adoption)}")
    console.say(f"  A backup of its databases is in       {answer['backup']}")


def _removal(adoption: Adoption) -> str:
    """How to remove the old server. A folder that may hold other things, such as a home, is not named to `rm`."""
    old, name = adoption.old, adoption.prepared.deployment.name
    unit = "" if old["unit"] in ("", f"mlflow-{name}.service") else f" {old['unit_file']}"
    tree = PurePosixPath(old["tree"])
    if "mlflow" in tree.name.lower() and len(tree.parts) > 3:
        return f"sudo rm -r {shlex.quote(str(tree))}{unit}"
    database = PurePosixPath(old["database"])
    return f"sudo rm {shlex.quote(str(database))}{unit}, and what else of {tree} belongs to it"
