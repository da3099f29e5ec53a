"""Where backups go, how often they are made, to whom they are encrypted, and how many are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from mlflow_provision.config.deployment import OFF, OPERATOR, Backup, Deployment
from mlflow_provision.config.rules.artifacts import DEFAULT_ROOT, bucket_problem
from mlflow_provision.config.rules.backup_store import backup_store_problems
from mlflow_provision.config.rules.paths import inside, path_problem
from mlflow_provision.config.wording import did_you_mean, has_control_characters, one_of, shown

SCHEDULES = ("hourly", "daily", "weekly", OFF)
VERIFICATIONS = ("daily", "weekly", "monthly", OFF)
ENCRYPTIONS = ("passphrase", "recipient")
KEPT = ("keep_last", "keep_daily", "keep_weekly", "keep_monthly")
MOST_KEPT = 1000
# Below a deployment's own folder: the backups that upgrades make where there is no other place. They can be restored
# like all others.
OF_UPGRADES = "backup/upgrades-store"


def backup_problems(deployment: Deployment) -> Iterator[str]:
    backup = deployment.backup
    words = list(_word_problems(backup))
    if problem := destination_problem(deployment, understood=not words):
        yield f"backup.destination: {problem}"
    else:
        yield from words
        yield from _encryption_problems(backup)
        yield from backup_store_problems(deployment)
    yield from _kept_problems(backup)


def destination_problem(deployment: Deployment, understood: bool = True) -> str | None:
    """Backups among the artifacts would be listed, cleaned up and lost together with them."""
    place, artifacts = deployment.backup.destination, deployment.artifacts.destination
    scheme, separator, rest = place.partition("://")
    if not place:
        return _keys_without_a_place(deployment.backup) if understood else None
    if place.startswith(OPERATOR):
        return operator_problem(place.removeprefix(OPERATOR))
    if separator and scheme != "s3":
        return f"{shown(place)} cannot be used: give s3://bucket/prefix or an absolute folder on the host"
    problem = bucket_problem(rest) if separator else path_problem(place, deployment.scope, home=False)
    if problem:
        return problem if separator else f"{problem}, or s3://bucket/prefix, or operator:~/folder on your own machine"
    root = deployment.root or (DEFAULT_ROOT if deployment.scope == "system" else "")
    if root and inside(place, root) and place != f"{root}/{deployment.name}/{OF_UPGRADES}":
        return f"{shown(place)} is inside {root}, where the server itself is: what takes one would take the other"
    if artifacts and bool(separator) == ("://" in artifacts) and (inside(place, artifacts) or inside(artifacts, place)):
        return f"{shown(place)} and the artifacts in {artifacts} are inside one another: use a place of its own"
    return None


def operator_problem(folder: str) -> str | None:
    """A folder on the machine of whoever asks for a backup: anything that a person may have there."""
    if not folder.startswith(("~/", "/")) or folder in ("~/", "/"):
        return f"{shown(OPERATOR + folder)} names no folder of your machine: write it like operator:~/mlflow-backups"
    if has_control_characters(folder):
        return f"{shown(OPERATOR + folder)} has a control character in it"
    if ".." in folder.split("/"):
        return f"{shown(OPERATOR + folder)} goes through '..': write the path itself"
    return None


def _keys_without_a_place(backup: Backup) -> str | None:
    changed = [key.name for key in fields(backup) if getattr(backup, key.name) != key.default]
    return f"missing, and {one_of(changed)} has no use without it" if changed else None


def _word_problems(backup: Backup) -> Iterator[str]:
    for key, known in (("schedule", SCHEDULES), ("verify", VERIFICATIONS), ("encryption", ("", *ENCRYPTIONS))):
        word = getattr(backup, key)
        if word not in known:
            meant = did_you_mean(word, known)
            yield f"backup.{key}: {shown(word)} is unknown: use {one_of(filter(None, known))}{meant}"
    if backup.with_operator and backup.schedule in SCHEDULES and backup.schedule != OFF:
        yield (
            f"backup.schedule: {shown(backup.schedule)} cannot be: the host does not reach your machine by itself. "
            'Use "off", and run `mlflow-provision backup` when you want one; or use another place'
        )


def _encryption_problems(backup: Backup) -> Iterator[str]:
    from mlflow_provision.backup_keys import recipient_problem

    if backup.encryption == "recipient" and not backup.recipient:
        yield "backup.recipient: missing: make a key with `mlflow-provision backup keygen`, and write its age1… here"
    elif backup.recipient and backup.encryption != "recipient":
        yield 'backup.recipient: has no use without encryption = "recipient": add that, or remove it'
    elif backup.recipient and (problem := recipient_problem(backup.recipient)):
        yield f"backup.recipient: {problem}"


def _kept_problems(backup: Backup) -> Iterator[str]:
    for key in KEPT:
        if not 0 <= getattr(backup, key) <= MOST_KEPT:
            yield f"backup.{key}: {shown(getattr(backup, key))} cannot be used: use 0 to {MOST_KEPT}"
    if not any(getattr(backup, key) for key in KEPT):
        yield f"backup.keep_daily: is 0, and so are {', '.join(KEPT[:1] + KEPT[2:])}: then no backup would be kept"
