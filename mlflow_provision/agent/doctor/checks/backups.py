"""Are there backups, young enough, read back, and does the next one come by itself?"""

from __future__ import annotations

import os
import time
from typing import Any

from mlflow_provision.agent import command
from mlflow_provision.agent.backup.status import status
from mlflow_provision.agent.doctor.finding import Finding, Skip, ago, bad, ok, unknown, warn
from mlflow_provision.agent.doctor.patient import Patient

_DAY = 86400.0
_EVERY = {"hourly": 3600.0, "daily": _DAY, "weekly": 7 * _DAY, "monthly": 31 * _DAY}
_GRACE = 2 * 3600.0  # seconds: dates are spread over an hour, and a backup takes its time
_BY_HAND = 7 * _DAY  # how old one may be where nobody but a person makes them
_READ_BACK = 31 * _DAY


def age(patient: Patient) -> Finding:
    """The newest backup is not older than the schedule says."""
    backup = patient.backup
    if not backup["destination"]:
        return warn(
            "there are no backups: whatever takes this disk takes every run with it",
            cause="No place for backups was named.",
        )
    made = _noted(patient).get("made")
    every = _EVERY.get(backup["schedule"]) if backup["scheduled"] else None
    limit = 2 * every + _GRACE if every else _BY_HAND
    if not made:
        young = time.time() - _set_up(patient) < limit
        words = "no backup was ever made from here"
        return ok(f"{words}; the first one is not due yet") if young else bad(words)
    words = f"the newest backup was made {ago(time.time() - made['at'])}"
    if time.time() - made["at"] <= limit:
        return ok(words, at=made["at"])
    if every:
        return bad(f"{words}; the schedule is {backup['schedule']}", at=made["at"])
    return warn(f"{words}, and nothing makes them by itself", at=made["at"])


def verified(patient: Patient) -> Finding:
    """Backups are read back now and then: one that never was may be none."""
    backup = patient.backup
    if not backup["destination"]:
        raise Skip("there are no backups")
    noted = _noted(patient)
    if not noted.get("made"):
        raise Skip("no backup was made yet")
    every = _EVERY.get(backup["verify"]) if backup["scheduled"] else None
    limit = 2 * every + _GRACE + _DAY if every else _READ_BACK
    last = noted.get("verified")
    if not last:
        if every and time.time() - _set_up(patient) < limit:
            return ok("no backup was read back yet; the first time is not due yet")
        return warn("no backup was ever read back")
    words = f"the last backup that was read back: {ago(time.time() - last['at'])}"
    return ok(words, at=last["at"]) if time.time() - last["at"] <= limit else warn(words, at=last["at"])


def failed(patient: Patient) -> Finding:
    """What failed last has succeeded since."""
    if not patient.backup["destination"]:
        raise Skip("there are no backups")
    failure = _noted(patient).get("failed")
    if not failure:
        return ok("nothing has failed since it last succeeded")
    data = {"remedy": failure["hint"]} if failure.get("hint") else {}
    return bad(f"the last {failure['what']} failed {ago(time.time() - failure['at'])}: {failure['message']}", **data)


def timer(patient: Patient) -> Finding:
    """Something starts the next one."""
    backup = patient.backup
    if not backup["scheduled"]:
        raise Skip("no backups are scheduled")
    if not patient.unit:
        lines = command.capture(["crontab", "-l"], 5.0)
        if patient.files["agent"] in lines:
            return ok("crontab has a line for it")
        return bad(
            "nothing makes backups by itself: without root it takes a line in your crontab, and there is none",
            remedy="mlflow-provision backup schedule NAME prints the line; add it with crontab -e",
            no_fix=True,
        )
    unit = backup["timer"]
    text = command.capture(["systemctl", "show", unit, "--property=LoadState,UnitFileState,ActiveState"])
    state = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    data = {"unit": unit, "fix": "apply"}
    if state.get("LoadState") != "loaded":
        return bad(f"there is no {unit}", **data)
    if state.get("UnitFileState") != "enabled":
        return bad(f"{unit} is {state.get('UnitFileState') or 'not enabled'}: it is gone after the next reboot", **data)
    if state.get("ActiveState") != "active":
        return bad(f"{unit} is {state.get('ActiveState') or 'unknown'}: it starts nothing", **data)
    following = _noted(patient).get("next")
    if not following:
        working = command.capture(["systemctl", "is-active", unit.replace(".timer", ".service")], 5.0).strip()
        return ok("a backup is being made") if working == "activating" else unknown(f"{unit} has no next date")
    hours = max(0.0, following - time.time()) / 3600
    return ok(f"the next one is made in {hours:.0f} hours" if hours >= 1 else "the next one is made within the hour")


def _noted(patient: Patient) -> dict[str, Any]:
    backup = patient.backup
    return status(patient.user, backup["state"], backup["timer"])


def _set_up(patient: Patient) -> float:
    """When backups could first have been made: the folder for their state was made then."""
    for path in (patient.backup["state"], patient.data["etc"]):
        try:
            # What is in it changes with every backup; the folder that it is in does not.
            return (
                os.stat(os.path.dirname(path)).st_mtime if path == patient.backup["state"] else os.stat(path).st_mtime
            )
        except OSError:
            continue
    return 0.0
