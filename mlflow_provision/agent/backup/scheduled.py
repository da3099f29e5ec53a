"""A backup without an operator, started by a timer: made, verified now and then, and the old ones pruned. Timers that
do other things start here too.

What happened stands in the journal, in the exit code, in what `status` reads, and at the ping URL.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Callable

from mlflow_provision.agent.backup.ping import ping
from mlflow_provision.agent.protocol import CHANGED, FAILED, AgentError, Event, Result, in_words, way_out

OPERATOR = "the schedule"
REASON = "by schedule"
DONE, NOT_MADE, WRONG = 0, 1, 3  # exit codes
_NAMES = {"make": "backup", "verify": "verification", "prune": "pruning"}
_DAY = 86400.0
_EVERY = {"daily": _DAY, "weekly": 7 * _DAY, "monthly": 30 * _DAY}
_EARLY = 2 * 3600.0  # seconds; timers are not exact, and what is due in an hour is due now

Serve = Callable[[dict[str, Any], str, Callable[[Event], None], Callable[[], bool]], dict[str, Any]]


def main() -> int:
    """Do the job in the file that the command line names. 0: all went well, or somebody else is at it; 1: no backup was
    made; 3: one was made, and what came after it failed."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda signum, frame: stop.set())
    try:
        job = json.loads(Path(sys.argv[1]).read_text())
    except (OSError, ValueError, IndexError) as error:
        return _say(f"failed: the job cannot be read: {error}", NOT_MADE)
    if job.get("does") == "gc":
        from mlflow_provision.agent import collection
        from mlflow_provision.agent.collection import scheduled

        return scheduled.carried_out(job, collection.serve, stop.is_set)
    from mlflow_provision.agent.backup import serve

    note_room(job["settings"])
    return carried_out(job, serve, stop.is_set)


def note_room(settings: dict[str, Any]) -> None:
    """For `status`, which tells how fast disks fill: every server with a schedule is looked at now and then."""
    from mlflow_provision.agent.health import growth

    folders = [os.path.dirname(settings["source"]["databases"]["mlflow.db"])]
    folders += [settings["source"]["artifacts"], settings["place"]["destination"]]
    growth.note(settings["state"], {path: path for path in folders if path.startswith("/")}, time.time())


def carried_out(job: dict[str, Any], serve: Serve, stopping: Callable[[], bool]) -> int:
    """Back up, verify when it is time, prune: without a new backup nothing else, else all of it, whatever fails."""
    url = job["settings"].get("ping_url", "")
    code = DONE
    for action, request in _actions(job):
        try:
            serve({"action": action, "settings": job["settings"], **request}, OPERATOR, _tell, stopping)
        except (AgentError, OSError) as error:
            failed = error if isinstance(error, AgentError) else AgentError(in_words(error), way_out(error))
            if failed.kind == "locked":
                return _say(f"skipped: {failed.message}", DONE)  # no ping: whoever waits for one shall hear of it
            code = NOT_MADE if action == "make" else WRONG
            _say(f"{_NAMES[action]} failed: {failed.message}", code)
            if failed.hint:
                _say(f"  {failed.hint}", code)
            if action == "make" or stopping():
                break
        except Exception:  # a mistake of ours: whoever waits for the ping must hear of it all the same
            code = NOT_MADE if action == "make" else WRONG
            traceback.print_exc()
            break
    if problem := ping(url, failed=code != DONE):
        _say(f"the ping failed: {problem}", DONE)
    return code


def _actions(job: dict[str, Any]) -> Any:
    """What to do, one after the other; whether to verify is decided when it is its turn."""
    yield "make", {"reason": REASON, "artifacts": job["artifacts"], "verify": False, "identity": ""}
    settings = job["settings"]
    if due(settings["state"], settings["place"]["destination"], job["verify"], time.time()):
        yield "verify", {"id": "", "identity": ""}
    if job["prune"]:
        yield "prune", {"dry_run": False}


def due(state: str, place: str, every: str, now: float) -> bool:
    """Is it time to read a backup back? What was verified in another place counts for nothing, nor does a mark from the
    future: clocks jump."""
    from mlflow_provision.agent.backup.state import last

    if every not in _EVERY:
        return False
    verified = last(state).get("verified") or {}
    if verified.get("place") != place:
        return True
    age = now - float(verified.get("at", 0.0))
    return not -_EARLY <= age < _EVERY[every] - _EARLY


def _tell(event: Event) -> None:
    """The journal gets a line for each step that did something."""
    if isinstance(event, Result) and event.verdict in (CHANGED, FAILED):
        text = f"{event.title}: {event.summary}" if event.summary else event.title
        _say(f"{text} ({event.seconds:.1f} s)", DONE)


def _say(text: str, code: int) -> int:
    print(text, file=sys.stdout if code == DONE else sys.stderr, flush=True)
    return code
