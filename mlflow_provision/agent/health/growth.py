"""How fast disks fill: samples of the free room, taken now and then, and what they say."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.health.disks import disks
from mlflow_provision.agent.protocol import AgentError

Sample = dict[str, Any]  # {"at": seconds since 1970, "free": {mount point: bytes}}

FILE = "usage.json"  # in the folder of state that belongs to the schedule of backups
_HOUR, _DAY = 3600.0, 86400.0
_KEPT = 30 * _DAY
_APART = 20 * _HOUR  # two samples of one trend are so far from each other: what comes and goes within a day is no trend
_LEAST = _DAY  # from the first to the last, to say anything
_CLEANED = 0.02  # of the disk: where so much became free at once somebody cleaned up, which says nothing of growth


def with_another(samples: list[Sample], free: dict[str, int], now: float) -> list[Sample]:
    """The samples of the last 30 days with today's; the same list where the newest one is younger than an hour. One
    from the future does not count: clocks are put right."""
    kept = [sample for sample in samples if now - _KEPT < sample["at"] <= now]
    if kept and now - kept[-1]["at"] < _HOUR and len(kept) == len(samples):
        return samples
    return [*kept, {"at": round(now), "free": free}]


def trend(samples: list[Sample], disk: dict[str, Any], now: float) -> dict[str, float | None]:
    """`per_day`, by which the free room of a disk shrinks (bytes), and the `days_left` at that rate; both None while
    nothing is known, and `days_left` where it does not shrink."""
    mount = disk["mount"]
    points = sorted((sample["at"], sample["free"][mount]) for sample in samples if mount in sample["free"])
    points = _apart([*(point for point in points if point[0] <= now), (now, disk["free"])])
    shrunk = seconds = 0.0
    before, had = points[0]
    for at, has in points[1:]:
        if has - had <= _CLEANED * disk["size"]:
            shrunk += had - has
            seconds += at - before
        before, had = at, has
    if seconds < _LEAST:
        return {"per_day": None, "days_left": None}
    per_day = shrunk / seconds * _DAY
    return {"per_day": round(per_day), "days_left": round(disk["free"] / per_day, 1) if per_day >= 1 else None}


def _apart(points: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """The newest point, and those before it that have enough time between them."""
    kept: list[tuple[float, int]] = []
    for point in reversed(points):
        if not kept or kept[-1][0] - point[0] >= _APART:
            kept.append(point)
    return kept[::-1]


def note(state: str, folders: dict[str, str], now: float) -> None:
    """For what the service user does by schedule: a sample into its own folder. It never fails."""
    path = os.path.join(state, FILE)
    with contextlib.suppress(OSError, ValueError):
        free = {disk["mount"]: disk["free"] for disk in disks(folders)}
        known = read(path)
        samples = with_another(known, free, now)
        if samples is not known:
            descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(samples, file)
            os.replace(f"{path}.new", path)


def of_the_schedule(user: str, backup: dict[str, str]) -> list[Sample]:
    """What `note` has left, read with the rights of the user who wrote it."""
    if not backup or not os.path.isdir(backup["state"]):
        return []
    try:
        found: list[Sample] = as_user(user, lambda: read(os.path.join(backup["state"], FILE)))
        return found
    except (AgentError, OSError, KeyError):
        return []


def read(path: str) -> list[Sample]:
    """The samples of a file; those that are none are left out."""
    try:
        with open(path) as file:
            return checked(json.load(file))
    except (OSError, ValueError):
        return []


def checked(found: Any) -> list[Sample]:
    """What of it is samples, oldest first."""
    return sorted((item for item in found if _is_sample(item)), key=_moment) if isinstance(found, list) else []


def _is_sample(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(item.get("at"), (int, float))
        and isinstance(item.get("free"), dict)
        and all(isinstance(value, int) for value in item["free"].values())
    )


def _moment(sample: Sample) -> float:
    return float(sample["at"])
