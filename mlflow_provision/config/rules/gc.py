"""When what was deleted goes for good, and how long it stays before."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlflow_provision.config.deployment import OFF, Gc
from mlflow_provision.config.wording import did_you_mean, one_of, shown

SCHEDULES = ("daily", "weekly", "monthly", OFF)
_UNITS = {"w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}  # seconds
_AGE = re.compile(r"(?:[0-9]{1,6}[wdhms])+")
_PART = re.compile(r"([0-9]+)([wdhms])")
LONGEST = 100 * 365 * 86400  # seconds


def gc_problems(gc: Gc) -> Iterator[str]:
    if gc.schedule not in SCHEDULES:
        meant = did_you_mean(gc.schedule, SCHEDULES)
        yield f"gc.schedule: {shown(gc.schedule)} is unknown: use {one_of(SCHEDULES)}{meant}"
    if problem := age_problem(gc.older_than):
        yield f"gc.older_than: {problem}"
    elif gc.schedule != OFF and not seconds(gc.older_than):
        yield (
            f"gc.older_than: {shown(gc.older_than)} cannot be with a schedule: what somebody deletes by mistake would "
            "be gone before anybody notices. Use 7d or more"
        )


def age_problem(text: str) -> str | None:
    """Why this is not a length of time such as 30d, 12h or 1d12h."""
    if not _AGE.fullmatch(text):
        return f"{shown(text)} is not a length of time: write it like 30d, 2w, 12h or 1d12h"
    if seconds(text) > LONGEST:
        return f"{shown(text)} is more than a hundred years"
    return None


def seconds(text: str) -> float:
    """How long `30d` is. Only for what `age_problem` has nothing against."""
    return float(sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(text)))
