"""What may go, and what has gone, for people."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from mlflow_provision.console.text import duration, plural, size

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console

HEADER = ("EXPERIMENT", "RUNS", "MODELS", "TRACES", "FILES", "SIZE")
_MOST_ROWS = 20
_MOST_KEPT = 5
_NUMBERS = ("runs", "models", "traces", "files")


def say_report(console: Console, deployment: Deployment, age: str, report: dict[str, Any]) -> None:
    """What `gc` would do with what was deleted at least `age` ago."""
    name = deployment.name
    experiments, orphans = report["experiments"], report["orphans"]
    if experiments:
        console.say(f"Deleted on {name} at least {age} ago, to be removed for good:", "strong")
        console.table(HEADER, _rows(experiments))
    else:
        console.say(f"Nothing to remove: nothing was deleted on {name} at least {age} ago.", "good")
    if orphans:
        _say_orphans(console, report, alone=not deployment.artifacts.destination)
    if report["young"]:
        console.say(f"{plural(report['young'], 'deletion')} less than {age} ago: kept for now.")
    say_kept(console, report["kept"])
    if report["versions"] and (experiments or (orphans and orphans["folders"])):
        console.note(
            f"{report['place']} keeps old versions: what is removed still takes room until a lifecycle rule of the "
            "bucket lets old versions expire"
        )


def say_kept(console: Console, kept: list[dict[str, Any]]) -> None:
    """What was deleted long enough ago and stays, and why."""
    reasons: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in kept:
        reasons[one["why"]].append(one)
    for why, those in list(reasons.items())[:_MOST_KEPT]:
        first = those[0]
        what = f"{first['kind']} {first['name'] or first['id']}"
        others = f" and {len(those) - 1:,} more" if len(those) > 1 else ""
        console.note(f"{what}{others} {'stays' if not others else 'stay'}: {why}")
    if len(reasons) > _MOST_KEPT:
        console.note(f"{len(reasons) - _MOST_KEPT} more reasons why something stays: see them with --json")


def say_removed(console: Console, answer: dict[str, Any]) -> None:
    removed = answer["removed"]
    took = duration(console.seconds)
    parts = [plural(removed[key], noun) for key, noun in _NOUNS.items() if removed[key]]
    what = ", ".join(parts) or "nothing"
    console.say(f"Removed {what}: {_files(removed)} ({took}).", "good")


def all_of(report: dict[str, Any]) -> str:
    """`120 runs, 3 models, 1 experiment and 4,210 files (1.2 GB)`."""
    totals, orphans = dict(report["totals"]), report["orphans"] or {"folders": 0, "files": 0, "bytes": 0}
    totals["orphans"] = orphans["folders"]
    parts = [plural(totals[key], noun) for key, noun in _NOUNS.items() if totals[key]]
    both = {key: totals[key] + orphans[key] for key in ("files", "bytes")}
    return f"{', '.join(parts)} and {_files(both)}"


_NOUNS = {
    "runs": "run",
    "models": "model",
    "traces": "trace",
    "experiments": "experiment",
    "orphans": "orphaned folder",
}


def _files(sums: dict[str, int]) -> str:
    return f"{sums['files']:,} {'file' if sums['files'] == 1 else 'files'}, {size(sums['bytes'])}"


def _rows(experiments: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    ordered = sorted(experiments, key=lambda one: (-one["bytes"], -one["runs"], int(one["id"])))
    rows = [_row(f"{one['name']} ({one['id']}){', all of it' if one['whole'] else ''}", one) for one in ordered]
    if len(rows) > _MOST_ROWS:
        rest = ordered[_MOST_ROWS - 1 :]
        sums = {key: sum(one[key] for one in rest) for key in (*_NUMBERS, "bytes")}
        rows = [*rows[: _MOST_ROWS - 1], _row(f"{len(rest):,} more", sums)]
    return rows


def _row(label: str, sums: dict[str, Any]) -> tuple[str, ...]:
    return (label, *(f"{sums[key]:,}" for key in _NUMBERS), size(sums["bytes"]))


def _say_orphans(console: Console, report: dict[str, Any], alone: bool) -> None:
    """`alone`: the place is a folder of the server's own, where nobody else puts anything."""
    orphans = report["orphans"]
    if orphans["young"]:
        console.say(f"{plural(orphans['young'], 'folder')} of nothing known, less than a day old: kept for now.")
    if not orphans["folders"]:
        console.say(f"No orphans in {report['place']}: every folder of a run, model or trace belongs to one.", "good")
        return
    console.say(
        f"{plural(orphans['folders'], 'folder')} in {report['place']} of no run, model or trace that the server knows "
        f"({_files(orphans)}); {orphans['known']:,} are of one.",
        "strong",
    )
    for example in orphans["examples"]:
        console.say(f"  {example}")
    if orphans["folders"] > len(orphans["examples"]):
        console.say(f"  … {orphans['folders'] - len(orphans['examples']):,} more")
    if not alone:
        console.note(
            f"if another server keeps artifacts in {report['place']}, these may be its own: then leave out --orphans"
        )
