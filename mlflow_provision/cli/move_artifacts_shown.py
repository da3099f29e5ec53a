"""What a person reads before and after artifacts move."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_provision.cli.command import shown, typed
from mlflow_provision.console.text import duration, plural, size

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console
    from mlflow_provision.moving import Site

_WORDS = {
    "experiments": "experiment",
    "runs": "run",
    "logged_models": "logged model",
    "model_versions": "model version",
    "trace_tags": "trace",
    "workspaces": "workspace",
}
_PLACES = 8


def say_look(console: Console, there: Site, seen: dict[str, Any], deletes: bool) -> None:
    """What is elsewhere, where, and how much of it would be copied."""
    rows = seen["rows"]
    if seen["unfinished"]:
        console.note("an earlier move lost its power half-way: its places are put back first")
        if not rows:
            return
    if not rows:
        say_left(console, seen["left"])
        rest = "All others are" if seen["left"] else "All artifacts are"
        console.say(f"{rest} under the proxy of {there.deployment.name}: there is nothing to move.", "good")
        return
    console.say()
    console.say(f"Artifacts of {there.deployment.name} that are not under its proxy", "strong")
    _say(console, "Rewritten", ", ".join(plural(rows[table], word) for table, word in _WORDS.items() if table in rows))
    renamed = sum(counts["renamed"] for counts in seen["units"].values())
    if renamed:
        _say(
            console, "", f"artifacts of {renamed:,} are in {console.shortened(there.place)} already: nothing is copied"
        )
    if seen["files"]:
        target = console.shortened(there.place)
        _say(console, "Copied", f"{_amount(seen)}, to {target}")
        for top, count in _largest(seen["sources"]):
            _say(console, "", f"from {top} ({count:,})")
    if seen["room"] is not None and seen["files"]:
        _say(console, "Disk", f"{size(seen['room'])} free")
    say_left(console, seen["left"])
    _say(console, "Backup", f"of the databases first, in {console.shortened(there.backup_place)}")
    if seen["unprotected"]:
        console.note(
            f"the places of {seen['unprotected']:,} do not begin with the number of their experiment: MLflow protects "
            f"them by default_permission ({there.deployment.auth.default_permission}), not by that of the experiment"
        )
    originals = "Whether originals go is asked afterwards" if deletes else "Originals stay"
    console.say(f"{originals}. The server stands still for some seconds.")
    console.say()


def say_left(console: Console, left: list[dict[str, Any]]) -> None:
    """What stays as it is, and why."""
    for one in left:
        _say(console, "Left", f"{one['count']:,}: {one['why']}")
        for example in one["examples"]:
            _say(console, "", example)


def say_moved(console: Console, there: Site, answer: dict[str, Any], deletes: bool) -> None:
    console.say()
    if answer.get("nothing"):
        console.say("There is nothing to move any more.", "good")
        return
    rows = answer["rows"]
    moved = ", ".join(plural(rows[table], word) for table, word in _WORDS.items() if table in rows)
    console.say(
        f"Moved under the proxy of {there.deployment.name}: {moved} ({duration(console.seconds) or 'no time'}, "
        f"down for {duration(answer['seconds_down']) or 'no time'}).",
        "good",
    )
    if answer["files"]:
        _say(console, "Copied", f"{plural(answer['files'], 'file')}, {size(answer['bytes'])}")
    if answer["late"]:
        _say(console, "", f"{answer['late']:,} of them came while it moved")
    _say(console, "Proved", _proof(answer["proof"]))
    _say(console, "Backup", f"{answer['backup']}, of before: {_restoring(there, answer['backup'])}")
    if answer["record"] and not deletes:
        _say(console, "Originals", f"stay. To delete them: {_deleting()}")
    say_left(console, answer["left"])


def say_store(console: Console, there: Site, to: Deployment, seen: dict[str, Any]) -> None:
    """What moves with the whole store."""
    console.say()
    console.say(f"Move the artifacts of {there.deployment.name}", "strong")
    _say(console, "From", console.shortened(there.place))
    _say(console, "To", to.artifacts.destination)
    _say(console, "Size", _amount(seen))
    if seen["direct"]:
        console.note(
            f"{seen['direct']:,} runs, models or traces name the old place directly, and would still be read there: "
            f"bring them under the proxy first, which copies nothing: {shown('move-artifacts', there.deployment.name)}"
        )
    console.say("Originals stay. The server stands still while what came meanwhile is copied.")
    console.say()


def say_relocated(console: Console, there: Site, to: Deployment, answer: dict[str, Any], path: Path) -> None:
    console.say()
    console.say(
        f"{there.deployment.name} keeps its artifacts in {to.artifacts.destination} from now on "
        f"({duration(console.seconds) or 'no time'}, down for {duration(answer['seconds_down']) or 'no time'}).",
        "good",
    )
    _say(console, "Copied", f"{plural(answer['files'], 'file')}, {size(answer['bytes'])}")
    _say(console, "Proved", _proof(answer["proof"]))
    _say(console, "File", f"{path} says so")
    if answer["record"]:
        command = shown("move-artifacts", there.deployment.name, *_read_as_before(there), "--delete-originals")
        _say(console, "Originals", f"stay in {console.shortened(there.place)}. To delete them: {command}")


def say_originals(console: Console, originals: list[dict[str, Any]], hint: bool = True) -> None:
    """What earlier moves have left at the old places."""
    for one in originals:
        places = ", ".join(one["places"])
        _say(console, "Originals", f"of {one['id']}: {plural(one['files'], 'file')}, {size(one['bytes'])}, in {places}")
    if hint and originals:
        _say(console, "", "to delete them: add --delete-originals")


def say_deleted(console: Console, answer: dict[str, Any]) -> None:
    console.say(f"{plural(answer['files'], 'original')} deleted, {size(answer['bytes'])} freed.", "good")
    for why, count in answer["why"].items():
        _say(console, "Kept", f"{count:,}: {why}")


def _amount(seen: dict[str, Any]) -> str:
    """How much there is, and how much an interrupted run has copied of it."""
    done = seen["files"] - seen["files_left"]
    known = f" ({done:,} of them are copied already)" if done else ""
    return f"{plural(seen['files'], 'file')}, {size(seen['bytes'])}{known}"


def _restoring(there: Site, backup: str) -> str:
    """What puts the databases back as they were: without a place of its own for backups, that has to be named."""
    place = [] if there.deployment.backup.destination else ["--from", there.backup_place]
    return shown("restore", backup, there.deployment.name, *place)


def _deleting() -> str:
    """The same command, which knows how the old places are read, for their end."""
    kept = [word for word in typed() if word not in ("--yes", "-y", "--dry-run", "--json", "--delete-originals")]
    return shown(*kept, "--delete-originals")


def _read_as_before(there: Site) -> list[str]:
    """The options that say how the old bucket is reached."""
    artifacts = there.deployment.artifacts
    known = {
        "--from-profile": artifacts.profile,
        "--from-region": artifacts.region,
        "--from-endpoint-url": artifacts.endpoint_url,
    }
    return [word for option, value in known.items() if value for word in (option, value)]


def _proof(proof: dict[str, Any]) -> str:
    some = "" if proof["units"] == proof["total"] else f" of {proof['total']:,}"
    return (
        f"through the server: artifacts of {proof['units']:,}{some} listed, {plural(proof['files'], 'file')} "
        f"({size(proof['bytes'])}) read"
    )


def _largest(sources: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(sources.items(), key=lambda one: -one[1])[:_PLACES]


def _say(console: Console, label: str, text: str) -> None:
    console.say(f"  {label:<10} {text}")
