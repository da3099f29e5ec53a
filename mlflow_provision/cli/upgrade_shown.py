"""What a person reads before and after an upgrade."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mlflow_provision.agent.protocol import Result
from mlflow_provision.cli.address import address, needs_tunnel
from mlflow_provision.cli.command import in_earnest, shown
from mlflow_provision.cli.connection import where
from mlflow_provision.console.text import ago, duration, size
from mlflow_provision.version import newer

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.upgrading import Site

INDENT = " " * 12  # of what belongs to the line above
_START = 8.0  # seconds: what it takes to stop a server and to start it, at least
_LOG = 20e6  # bytes that a database may have beside it until they are written into it
_FRESH = 7 * 86400.0  # seconds that a rehearsal tells how long an upgrade takes


def say_summary(
    console: Console, site: Site, version: str, look: dict[str, Any], files: Sequence[Result], keep: int, diffs: bool
) -> None:
    """What an upgrade would change, need and take."""
    from mlflow_provision.upgrading import notes

    deployment, target = site.deployment, look["target"]
    console.document.details["plan"] = {
        "from": look["version"] or site.version,
        "to": version,
        "newest": site.newest,
        "notes": notes(site.version, version),
        "files": [file.title for file in files],
        "look": look,
    }
    console.say()
    console.say(f"Upgrade {deployment.name} on {where(deployment)}", "strong")
    row(console, "MLflow", f"{look['version'] or site.version} → {version}{_newest(site, version)}")
    for number, note in enumerate(notes(site.version, version)):
        row(console, "" if number else "Brings", note)
    say_schema(console, look["schema"], target["schema"], version)
    titles = [PurePosixPath(file.title.rstrip("/")).name for file in files]
    row(console, "Updates", ", ".join(titles))
    row(console, "Release", "is on the host already" if target["installed"] else "is installed beside the old one")
    free, needed = size(look["disk_free"]), size(look["disk_needed"])
    row(console, "Disk", f"up to {needed} of the {free} that are free")
    say_backup(console, site)
    row(console, "Away for", _away(look))
    row(console, "Way back", _way_back(deployment.name, keep))
    console.say(f"If anything fails, {deployment.name} runs on with MLflow {site.version} and what it has now.")
    if diffs:
        for file in files:
            console.say()
            console.change(file)
            console.diff(file.diff)
    console.say()


def say_nothing_to_do(console: Console, site: Site) -> None:
    """It is where it should be."""
    name, version = site.deployment.name, site.version
    console.document.details["plan"] = {"from": version, "to": version, "newest": site.newest}
    console.say(f"No changes: {name} runs MLflow {version} already.", "good")
    if site.newest and newer(site.newest, version):
        console.say(f"  The newest that installs is {site.newest}: {shown('upgrade', name, '--to', site.newest)}")


def say_rehearsed(console: Console, site: Site, version: str) -> None:
    """After a dry run: what was found."""
    answer = console.document.details["rehearsal"] = console.answer
    took = duration(sum(answer["seconds"].values())) or "no time"
    console.say()
    console.say(f"The upgrade to MLflow {version} works on a copy of the databases ({took}).", "good")
    for name, (before, after) in answer["schema"].items():
        row(console, "Schema", f"{name} {_step(before, after)}")
    row(console, "Copied", f"{size(answer['bytes'])}, and every row is still there")
    row(console, "Left", f"the release {answer['release']}, for the upgrade; nothing else was changed")
    console.say(f"To upgrade: {in_earnest()}")


def say_ending(console: Console, site: Site, version: str, keep: int) -> None:
    """After an upgrade."""
    answer = console.document.details["upgrade"] = console.answer
    deployment = site.deployment
    console.say()
    took = duration(console.seconds) or "no time"
    console.say(f"{deployment.name} runs MLflow {version} and is verified ({took}).", "good")
    row(console, "Address", address(deployment) + (" through the tunnel" if needs_tunnel(deployment) else ""))
    for name, (before, after) in answer["schema"].items():
        row(console, "Schema", f"{name} {_step(before, after)}")
    row(console, "Away for", duration(answer["seconds_down"]) or "no time")
    row(console, "Way back", _way_back(deployment.name, keep))
    if answer["backup"]:
        row(console, "Backup", f"{answer['backup']} in {console.shortened(answer['backup_place'])}")
    if answer["removed"]:
        row(console, "Removed", ", ".join(answer["removed"]))


def say_taken_back(console: Console, site: Site) -> None:
    """After the way back from one that was interrupted."""
    answer = console.answer
    what = "upgrade" if answer["action"] == "upgrade" else "rollback"
    name = site.deployment.name
    console.say(f"The {what} of {name} that was interrupted is taken back: {answer['state']}.", "good")


def say_schema(console: Console, now: Mapping[str, str], then: Mapping[str, str], version: str) -> None:
    """The revisions of the databases, where they are known."""
    if not then:
        row(console, "Schema", f"{', '.join(now.values())}; what MLflow {version} has is seen when it is installed")
    elif all(now[name] == then.get(name) for name in now):
        row(console, "Schema", "stays the same: nothing to migrate")
    else:
        for number, name in enumerate(now):
            row(console, "" if number else "Schema", f"{name} {_step(now[name], then.get(name, '?'))}")


def say_backup(console: Console, site: Site) -> None:
    place = console.shortened(site.backed_up.backup.destination)
    if site.deployment.backup.destination:
        row(console, "Backup", f"first, and read back, to {place}")
    else:
        name = site.deployment.name
        row(console, "Backup", f"first, and read back, to {place} on the host: {name} has no place of its own yet")


def row(console: Console, label: str, text: str) -> None:
    """A line of a summary; nothing for no text."""
    if text:
        console.say(f"  {label:<9} {text}")


def _step(before: str, after: str) -> str:
    return f"{before} → {after}" if before != after else f"{after}, as before"


def _newest(site: Site, version: str) -> str:
    if not site.newest or version == site.newest:
        return ", the newest that installs" if site.newest else ""
    return f" (the newest that installs: {site.newest})" if newer(site.newest, version) else ""


def _away(look: dict[str, Any]) -> str:
    """How long people have to wait, as far as that is known."""
    rehearsed = look.get("rehearsed")
    if rehearsed and time.time() - rehearsed["at"] < _FRESH and look["size"] < 1.5 * rehearsed["bytes"] + _LOG:
        seconds = rehearsed["seconds"]
        work = sum(seconds.get(part, 0.0) for part in ("copy", "migrate", "compare"))
        return f"about {duration(_START + work)}, as rehearsed {ago(rehearsed['at'], time.time())}"
    return f"a restart, and a copy and migration of {size(look['size'])}: --dry-run measures it"


def _way_back(name: str, keep: int) -> str:
    if keep < 2:
        return "none but the backup: --keep 1 throws the old release and its databases away"
    return shown("rollback", name) + (f", for each of the last {keep - 1} upgrades" if keep > 2 else "")
