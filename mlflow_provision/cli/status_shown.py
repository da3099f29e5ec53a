"""How the status of one deployment looks to people, in rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlflow_provision.cli.program import program
from mlflow_provision.console.text import ago, elapsed, plural, size

if TYPE_CHECKING:
    from mlflow_provision.console import Console

Summary = dict[str, Any]
Rows = Iterator[tuple[str, str]]

_DAY = 86400.0
LONG = 365.0  # days; a disk that lasts longer is no news


def say_one(console: Console, status: Summary, now: float) -> None:
    """One deployment; `now` in seconds since 1970."""
    name = status["name"]
    if not status["reachable"]:
        console.say(f"{name} cannot be seen: {status['error']['message']}", "bad")
        console.say(status["error"]["hint"])
        return
    console.say(f"{name} is {state(status)}", "good" if status["healthy"] else "bad")
    for label, text in _rows(status, now + status["clock_skew"]):
        console.say(f"  {label:<9} {text}")
    for text in status["warnings"]:
        console.say(f"  {'warning':<9} {text}", "bad")


def watched_line(interval: float) -> str:
    """What stands above a screen that is drawn again and again."""
    return f"{datetime.now():%H:%M:%S}, every {interval:g} s, Ctrl-C ends it"


def state(status: Summary) -> str:
    if not status["running"]:
        return "not running"
    return "running and healthy" if status["healthy"] else "running and not healthy"


def _rows(status: Summary, now: float) -> Rows:
    yield from (("problem", line) for line in status["problem"].splitlines())
    yield "host", status["host"]
    yield "MLflow", _version(status)
    yield "address", _address(status)
    if status["running"]:
        yield "up for", f"{elapsed(status['seconds'])}, since {_clock(now - status['seconds'], now)}"
        yield "process", str(status["pid"])
        yield "memory", size(status["memory"]) + _memory_left(status)
    if status["scope"] == "system":
        yield "at boot", "starts by itself" if status["enabled"] else "stays down"
    if status["restarts"]:
        yield "restarts", f"{status['restarts']} after a crash"
    for disk in status["disks"]:
        yield "disk", _disk(disk, several=len(status["disks"]) > 1)
    if status["database_size"] is not None:
        yield "database", size(status["database_size"])
    if status["runs"] is not None:
        yield "runs", _runs(status)
    if status["backup"]:
        yield from backup_rows(status["backup"], now)
    if certificate := status["certificate"]:
        yield "HTTPS", f"{certificate['name']}: the certificate {_ends(certificate['ends'], now)}"
    if status["applied_at"]:
        yield "set up", _set_up(status, now)


def _version(status: Summary) -> str:
    version, newest = str(status["mlflow_version"] or ""), status["newest_version"]
    if not version:
        return "not set up"
    if not newest or newest == version:
        return version + (", the newest" if newest else "")
    return f"{version}; the newest is {newest}"


def _address(status: Summary) -> str:
    if tunnel := status["tunnel"]:
        return f"{status['url']} (tunnel: {tunnel['state']})"
    if status["needs_tunnel"]:
        return f"{status['url']} on its host; from here: {program()} tunnel {status['name']}"
    return str(status["url"])


def _memory_left(status: Summary) -> str:
    free, whole = status["host_memory_free"], status["host_memory"]
    return f"; {size(free)} of the host's {size(whole)} are free" if free is not None and whole else ""


def _disk(disk: dict[str, Any], several: bool) -> str:
    text = f"{size(disk['free'])} of {size(disk['size'])} free"
    if several:
        text += f" on {disk['mount']} ({', '.join(disk['holds'])})"
    if disk["per_day"] is None:
        return f"{text}; how fast it fills is not known yet"
    days = disk["days_left"]
    if days is None or days > 10 * LONG:
        return f"{text}, and it does not fill"
    left = f"{days / LONG:.0f} years" if days >= 2 * LONG else elapsed(days * _DAY)
    return f"{text}, full in {left} at {size(disk['per_day'])} a day"


def _runs(status: Summary) -> str:
    text = f"{status['runs']:,} in {plural(status['experiments'], 'experiment')}"
    if status["runs_active"]:
        text += f", {status['runs_active']:,} of them active"
    return text + (f"; {status['runs_deleted']:,} more are deleted" if status["runs_deleted"] else "")


def _set_up(status: Summary, now: float) -> str:
    try:
        at = datetime.fromisoformat(status["applied_at"].replace("Z", "+00:00")).timestamp()
    except ValueError:
        return "at a time that cannot be read"
    by = f" by {status['operator']}" if status["operator"] else ""
    pending = "" if status["pending"] or status["changed_on_host"] else "; nothing has changed since"
    return ago(at, now) + by + pending


def backup_rows(backup: dict[str, Any], now: float) -> list[tuple[str, str]]:
    """How backups fare: the last one, what went wrong since, and when the next one comes. `now`: seconds since 1970."""
    rows = [("backup", _last_backup(backup, now))]
    if failed := backup.get("failed"):
        rows.append(("", f"{failed['what']} failed {ago(failed['at'], now)}: {failed['message']}"))
        rows += [("", line) for line in failed["hint"].splitlines()]
    if backup["next"] is not None:
        rows.append(("", f"the next one in {elapsed(max(0.0, backup['next'] - now))}"))
    elif backup["scheduled"]:
        rows.append(("", "its timer does not run: mlflow-provision setup puts that right"))
    return rows


def _last_backup(backup: dict[str, Any], now: float) -> str:
    made, verified = backup.get("made"), backup.get("verified")
    if not made:
        return "none yet"
    told = f"{ago(made['at'], now)}, {size(made['stored_size'])}"
    return f"{told}, last verified {ago(verified['at'], now)}" if verified else f"{told}, never verified"


def _ends(moment: float, now: float) -> str:
    left = moment - now
    return f"ends in {elapsed(left)}" if left > 0 else f"ended {elapsed(-left)} ago"


def _clock(moment: float, now: float) -> str:
    then = datetime.fromtimestamp(moment)
    return then.strftime("%H:%M" if then.date() == datetime.fromtimestamp(now).date() else "%Y-%m-%d %H:%M")
