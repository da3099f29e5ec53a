"""What of a deployment's status somebody should look after. Pure: a document in, sentences out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlflow_provision.config import Deployment
from mlflow_provision.console.text import ago, elapsed, plural, size

_DAY = 86400.0
_CLOCK = 60.0  # seconds
_MEMORY = 0.05  # of the host's
_DISK, _DISK_BYTES, _DISK_DAYS = 0.05, 1 << 30, 14.0
_INODES = 0.05
_CERTIFICATE = 21 * _DAY
# A backup is late when the next but one is due, and a verification likewise.
_LATE = {"hourly": 3 * 3600.0, "daily": 2 * _DAY, "weekly": 14 * _DAY, "monthly": 60 * _DAY}


def warnings(status: dict[str, Any], deployment: Deployment, now: float) -> list[str]:
    """Sentences, the worst first; `now` by the host's clock, seconds since 1970."""
    if not status["reachable"]:
        return []
    found = [*_service(status, deployment), *_unfinished(status, deployment), *_room(status)]
    found += [*_backups(status["backup"], deployment, now), *_certificate(status, now), *_changes(status, deployment)]
    return found + list(_rest(status))


def _service(status: dict[str, Any], deployment: Deployment) -> Iterator[str]:
    name = deployment.name
    if status["restarts"]:
        yield (
            f"it crashed and was restarted {plural(status['restarts'], 'time')}: mlflow-provision logs {name} --errors"
        )
    if status["running"] and deployment.scope == "system" and not status["enabled"]:
        yield f"it does not start at boot: mlflow-provision setup {name}"


def _unfinished(status: dict[str, Any], deployment: Deployment) -> Iterator[str]:
    ways = {"restore": "restore --undo", "upgrade": "upgrade"}
    for what in status["unfinished"]:
        again = f"mlflow-provision {ways.get(what, what)} {deployment.name}"
        yield f"{'an' if what[0] in 'aeiou' else 'a'} {what} was interrupted half-way: {again}"


def _room(status: dict[str, Any]) -> Iterator[str]:
    for disk in status["disks"]:
        free, whole = disk["free"], disk["size"]
        days = disk["days_left"]
        if free < _DISK_BYTES or free < _DISK * whole:
            yield f"the disk {disk['mount']} is nearly full: {size(free)} of {size(whole)} free"
        elif days is not None and days < _DISK_DAYS:
            yield f"the disk {disk['mount']} is full in {elapsed(days * _DAY)} at the current growth"
        if disk["inodes_free"] is not None and disk["inodes_free"] < _INODES:
            yield f"the disk {disk['mount']} has nearly no inodes left ({disk['inodes_free']:.1%} of them)"
    whole, free = status["host_memory"], status["host_memory_free"]
    if whole and free is not None and free < _MEMORY * whole:
        yield f"the host has nearly no memory left: {size(free)} of {size(whole)}"


def _backups(backup: dict[str, Any] | None, deployment: Deployment, now: float) -> Iterator[str]:
    name, wish = deployment.name, deployment.backup
    if not wish.destination:
        yield f"there are no backups: mlflow-provision backup schedule {name} --every daily --to PLACE"
        return
    if backup is None:
        return
    if failed := backup.get("failed"):
        yield f"{failed['what']} failed {ago(failed['at'], now)}: {failed['message'].splitlines()[0]}"
    made, verified = backup.get("made"), backup.get("verified")
    if made and wish.scheduled and now - made["at"] > _LATE[wish.schedule]:
        yield f"the last backup is {elapsed(now - made['at'])} old: mlflow-provision backup {name}"
    if made and wish.verify in _LATE and not failed:
        since = verified["at"] if verified else None
        if since is None and now - made["at"] > _DAY:
            yield f"no backup was ever verified: mlflow-provision backup verify {name}"
        elif since is not None and now - since > _LATE[wish.verify]:
            yield f"the last verified backup is {elapsed(now - since)} old: mlflow-provision backup verify {name}"
    if backup["scheduled"] and backup["next"] is None:
        yield f"the timer of the backups does not run: mlflow-provision setup {name}"


def _certificate(status: dict[str, Any], now: float) -> Iterator[str]:
    certificate = status["certificate"]
    if certificate and certificate["ends"] - now < _CERTIFICATE:
        left = certificate["ends"] - now
        when = f"ends in {elapsed(left)}" if left > 0 else f"ended {elapsed(-left)} ago"
        yield f"the certificate of {certificate['name']} {when}"


def _changes(status: dict[str, Any], deployment: Deployment) -> Iterator[str]:
    name = deployment.name
    if status["changed_on_host"]:
        yield (
            f"changed on the host since the last setup: {_some(status['changed_on_host'])}; "
            f"see it: mlflow-provision plan {name}"
        )
    if status["pending"]:
        yield f"not applied yet: {_some(status['pending'])}; see it: mlflow-provision plan {name}"


def _rest(status: dict[str, Any]) -> Iterator[str]:
    if abs(status["clock_skew"]) > _CLOCK:
        way = "ahead of" if status["clock_skew"] > 0 else "behind"
        yield f"the host's clock is {elapsed(abs(status['clock_skew']))} {way} this machine's"
    for what, why in status["unknown"].items():
        yield f"not known: {what} ({why})"


def _some(items: list[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
