"""Where backups go, how often they are made, and how many are kept."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_provision.config.deployment import Backup, Deployment
from mlflow_provision.config.rules.artifacts import DEFAULT_ROOT, bucket_problem
from mlflow_provision.config.rules.paths import inside, path_problem
from mlflow_provision.config.wording import did_you_mean, one_of, shown

SCHEDULES = ("hourly", "daily", "weekly")
MOST_KEPT = 1000


def backup_problems(deployment: Deployment) -> Iterator[str]:
    backup = deployment.backup
    if problem := destination_problem(deployment):
        yield f"backup.destination: {problem}"
    elif backup.schedule not in SCHEDULES:
        meant = did_you_mean(backup.schedule, SCHEDULES)
        yield f"backup.schedule: {shown(backup.schedule)} is unknown: use {one_of(SCHEDULES)}{meant}"
    for key in ("keep_daily", "keep_weekly"):
        if not 0 <= getattr(backup, key) <= MOST_KEPT:
            yield f"backup.{key}: {shown(getattr(backup, key))} cannot be used: use 0 to {MOST_KEPT}"
    if not (backup.keep_daily or backup.keep_weekly):
        yield "backup.keep_daily: is 0, and so is keep_weekly: then no backup would be kept"


def destination_problem(deployment: Deployment) -> str | None:
    """Backups among the artifacts would be listed, cleaned up and lost together with them."""
    place, artifacts = deployment.backup.destination, deployment.artifacts.destination
    scheme, separator, rest = place.partition("://")
    if not place:
        return _keys_without_a_place(deployment.backup)
    if separator and scheme != "s3":
        return f"{shown(place)} cannot be used: give s3://bucket/prefix or an absolute folder on the host"
    problem = bucket_problem(rest) if separator else path_problem(place, deployment.scope, home=False)
    if problem:
        return problem if separator else f"{problem}, or s3://bucket/prefix"
    root = deployment.root or (DEFAULT_ROOT if deployment.scope == "system" else "")
    if root and inside(place, root):
        return f"{shown(place)} is inside {root}, where the server itself is: what takes one would take the other"
    if artifacts and bool(separator) == ("://" in artifacts) and (inside(place, artifacts) or inside(artifacts, place)):
        return f"{shown(place)} and the artifacts in {artifacts} are inside one another: use a place of its own"
    return None


def _keys_without_a_place(backup: Backup) -> str | None:
    changed = [key for key in ("schedule", "keep_daily", "keep_weekly") if getattr(backup, key) != getattr(Backup, key)]
    if changed and backup.schedule in SCHEDULES:
        return f"missing, and {one_of(changed)} has no use without it"
    return None
