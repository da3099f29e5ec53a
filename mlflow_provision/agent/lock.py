"""One operator at a time: who holds the host, since when, and for what."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Iterator

from mlflow_provision.agent.protocol import AgentError


@contextlib.contextmanager
def held(path: str, operator: str, what: str) -> Iterator[None]:
    """Hold the lock file at `path`, or raise AgentError of kind "locked" that says who does. It ends with us."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _locked(os.pread(descriptor, 4096, 0)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"operator": operator, "what": what, "since": time.time()}).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def is_held(path: str) -> bool:
    """Whether somebody is at work right now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _locked(content: bytes) -> AgentError:
    try:
        holder = json.loads(content)
        age = max(0, time.time() - holder["since"])
        who = f"{holder['operator']} is running `{holder['what']}` on this host, started {age:.0f} s ago"
    except (ValueError, KeyError, TypeError):
        who = "somebody else is changing this host right now"
    return AgentError(who, "wait until it has ended, then run the same command again", "locked")
