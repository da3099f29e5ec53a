"""How the backups of a host fare, as it knows itself: no store is asked."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

from mlflow_provision.agent import command
from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.protocol import AgentError

_FORMAT = "%a %Y-%m-%d %H:%M:%S %Z"


def status(user: str, state: str, timer: str) -> dict[str, Any]:
    """What happened last (see `agent.backup.state.last`), and `next`: when the timer starts the next one, None if it
    does not. `scheduled`: is there to be a timer?"""
    from mlflow_provision.agent.backup.state import last

    noted: dict[str, Any] = {}
    if os.path.isdir(state):
        try:
            # The folder is the service user's, who may have put anything into it: read with that user's rights.
            noted = as_user(user, lambda: last(state))
        except (AgentError, OSError, KeyError) as error:
            noted = {"failed": {"at": time.time(), "message": f"{state}: {error}", "hint": "", "what": "status"}}
    return {**noted, "scheduled": bool(timer), "next": _next(timer) if timer else None}


def _next(timer: str) -> float | None:
    """Seconds since 1970. systemctl writes times for people, in the zone it is told."""
    argv = ["systemctl", "show", timer, "--property=NextElapseUSecRealtime", "--value"]
    environment = {"PATH": command.SYSTEM_PATH, "TZ": "UTC", "LC_ALL": "C"}
    try:
        done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30)
        return float(_seconds(done.stdout.decode("ascii", "replace").strip()))
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None


def _seconds(text: str) -> float:
    import calendar

    return float(calendar.timegm(time.strptime(text.replace("UTC", "GMT"), _FORMAT)))
