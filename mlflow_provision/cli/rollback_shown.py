"""What a person reads before and after a rollback."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mlflow_provision.cli.address import address, needs_tunnel
from mlflow_provision.cli.command import shown
from mlflow_provision.cli.connection import where
from mlflow_provision.cli.restore_shown import newer as counted
from mlflow_provision.cli.upgrade_shown import INDENT, row, say_backup
from mlflow_provision.config.rules.mlflow import age_problem
from mlflow_provision.console.text import ago, duration

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.upgrading import Site


def say_way_back(console: Console, site: Site, entry: dict[str, Any], look: dict[str, Any]) -> None:
    """Where it goes, and what that loses."""
    deployment, version = site.deployment, entry["from"]["version"]
    console.say()
    console.say(f"Go back with {deployment.name} on {where(deployment)}", "strong")
    row(console, "MLflow", f"{look['version'] or site.version} → {version}")
    row(console, "Before", f"the upgrade to {entry['to']['version']}, {ago(entry['at'], time.time())}")
    if entry["keeps_data"]:
        row(console, "Data", "today's stay: both versions have the same schema, so nothing is lost")
    else:
        row(console, "Data", "as they were before that upgrade: MLflow never makes a schema older")
        row(console, "Lost", _lost(entry))
        row(console, "Users", f"as they were then; {deployment.auth.admin_username} keeps today's password")
        row(console, "Artifacts", "stay where they are, those of lost runs too")
    row(console, "Release", "is still on the host" if entry["installed"] else "is installed again")
    say_backup(console, site)
    if age_problem(version):
        console.note(f"MLflow {version} lets any web page that a user visits write with that user's login")
    console.say(f"If anything fails, {deployment.name} runs on with MLflow {site.version} and what it has now.")
    console.say()


def say_rolled_back(console: Console, site: Site, entry: dict[str, Any]) -> None:
    answer = console.document.details["rollback"] = console.answer
    deployment, version = site.deployment, entry["from"]["version"]
    name = deployment.name
    console.say()
    took = duration(console.seconds) or "no time"
    console.say(f"{name} runs MLflow {version} again and is verified ({took}).", "good")
    row(console, "Address", address(deployment) + (" through the tunnel" if needs_tunnel(deployment) else ""))
    row(console, "Data", "today's" if answer["data"] == "kept" else "as they were before the upgrade")
    row(console, "Away for", duration(answer["seconds_down"]) or "no time")
    if answer["data"] != "kept":
        kept = console.shortened(answer["kept_aside"])
        row(console, "Kept", f"today's databases, in {kept} and in the backup {answer['backup']}")
        if any(answer["lost"].values()):
            row(console, "", "to have them again, upgrade, then restore that backup:")
            console.say(INDENT + shown("upgrade", name, "--to", site.version))
            place = site.backed_up.backup.destination
            elsewhere = () if deployment.backup.destination else ("--from", place)
            console.say(INDENT + shown("restore", answer["backup"], name, *elsewhere))


def _lost(entry: dict[str, Any]) -> str:
    lost = counted(entry["lost"])
    since = f"since then, {ago(entry['at'], time.time())}"
    return f"{lost} made {since}, and what was changed" if lost else f"what was changed {since}; no run, no user"
