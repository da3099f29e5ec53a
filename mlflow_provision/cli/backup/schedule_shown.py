"""How the schedule of a deployment's backups, and what became of the last ones, looks to people."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlflow_provision.cli.backup.place import ON_THIS_MACHINE
from mlflow_provision.cli.command import shown
from mlflow_provision.console.text import ago, duration, elapsed, size

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console

_KEPT = {
    "keep_last": "the last {}",
    "keep_daily": "{} daily",
    "keep_weekly": "{} weekly",
    "keep_monthly": "{} monthly",
}


def say_schedule(console: Console, deployment: Deployment, state: dict[str, Any]) -> None:
    """`state` is what the host told about its backups; empty where nothing was set up."""
    backup = deployment.backup
    console.document.details["schedule"] = {**asdict(backup), "scheduled": backup.scheduled, "state": state}
    if not backup.destination:
        console.say(f"{deployment.name} has no backups: there is no place for them yet.", "bad")
        console.say(f"  One now    {shown('backup', deployment.name)} --to {ON_THIS_MACHINE}")
        console.say(f"  Every day  {shown('backup', 'schedule', deployment.name, '--every', 'daily', '--to', 'PLACE')}")
        return
    if backup.scheduled:
        console.say(f"{deployment.name} is backed up {backup.schedule} to {backup.destination}", "good")
    else:
        console.say(f"{deployment.name} is backed up to {backup.destination} when you say so, not by itself")
    for label, text in _rows(deployment, state):
        console.say(f"  {label:<10} {text}", "bad" if label == "failed" else "")


def _rows(deployment: Deployment, state: dict[str, Any]) -> Iterator[tuple[str, str]]:
    backup, now = deployment.backup, time.time()
    if failed := state.get("failed"):
        yield "failed", f"{failed['what']}, {ago(failed['at'], now)}: {failed['message']}"
        for line in failed["hint"].splitlines():
            yield "", line
    if made := state.get("made"):
        took = duration(made["seconds"]) or "no time"
        yield "last", f"{ago(made['at'], now)}: {made['id']}, {size(made['stored_size'])} in {took}, {made['reason']}"
    else:
        yield "last", "none yet"
    if verified := state.get("verified"):
        yield "verified", f"{ago(verified['at'], now)}: {verified['id']}"
    if pruned := state.get("pruned"):
        yield "pruned", f"{ago(pruned['at'], now)}: {len(pruned['removed'])} removed"
    if backup.scheduled and deployment.scope == "system":
        yield "next", _next(deployment, state)
    if backup.scheduled:
        yield "verifies", backup.verify if backup.verify != "off" else "never by itself"
    keeps = [words.format(getattr(backup, key)) for key, words in _KEPT.items() if getattr(backup, key)]
    yield "keeps", "everything: the host never deletes one" if backup.append_only else ", ".join(keeps)
    yield "encrypted", {"": "no", "passphrase": "with a passphrase"}.get(backup.encryption, f"to {backup.recipient}")
    yield "one now", shown("backup", deployment.name)


def _next(deployment: Deployment, state: dict[str, Any]) -> str:
    if due := state.get("next"):
        left = due - time.time()
        return f"in {elapsed(left)}" if left > 0 else "now"
    return f"not planned on the host: {shown('setup', deployment.name)}"
