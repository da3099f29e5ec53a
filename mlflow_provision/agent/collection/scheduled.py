"""What was deleted goes by itself, started by a timer. What happened stands in the journal and in the exit code."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import traceback
from typing import Any, Callable

from mlflow_provision.agent.protocol import CHANGED, FAILED, OK, AgentError, Event, Result, in_words, way_out

OPERATOR = "the schedule"
DONE, NOT_DONE = 0, 1  # exit codes

Serve = Callable[[dict[str, Any], str, Callable[[Event], None], Callable[[], bool]], dict[str, Any]]


def carried_out(job: dict[str, Any], serve: Serve, stopping: Callable[[], bool]) -> int:
    """0: all went well, or somebody else is at work on this host. 1: it failed; what has gone has gone, and the next
    run goes on."""
    lock = job["settings"]["host_lock"]
    stopped: list[str] = []

    def somebody_came() -> bool:
        # An upgrade or a restore puts other databases in the place of those we work on.
        if not stopped and (who := holder(lock)):
            stopped.append(who)
        return bool(stopped) or stopping()

    try:
        if who := holder(lock):
            return _say(f"skipped: {who}", DONE)
        answer = serve({"action": "collect", "settings": job["settings"]}, OPERATOR, _tell, somebody_came)
    except (AgentError, OSError) as error:
        if stopped:
            return _say(f"stopped: {stopped[0]}; the next run goes on", DONE)
        failed = error if isinstance(error, AgentError) else AgentError(in_words(error), way_out(error))
        if failed.kind == "locked":
            return _say(f"skipped: {failed.message}", DONE)
        _say(f"failed: {failed.message}", NOT_DONE)
        return _say(f"  {failed.hint}", NOT_DONE) if failed.hint else NOT_DONE
    except Exception:  # a mistake of ours belongs in the journal
        traceback.print_exc()
        return NOT_DONE
    for kept in answer["kept"]:
        _say(f"kept: {kept['kind']} {kept['id']}: {kept['why']}", DONE)
    return DONE


def holder(lock: str) -> str:
    """Who changes this host right now, in words; "" when nobody does."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            content = os.pread(descriptor, 4096, 0)
            if not content:  # the usual case, in which the lock is not touched: somebody may be about to take it
                return ""
            told = json.loads(content)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return f"{told['operator']} is running `{told['what']}` on this host"
        finally:
            os.close(descriptor)
    return ""


def _tell(event: Event) -> None:
    if isinstance(event, Result) and event.verdict in (OK, CHANGED, FAILED):
        text = f"{event.title}: {event.summary}" if event.summary else event.title
        _say(f"{text} ({event.seconds:.1f} s)", DONE)


def _say(text: str, code: int) -> int:
    print(text, file=sys.stdout if code == DONE else sys.stderr, flush=True)
    return code
