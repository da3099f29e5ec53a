"""How far an upgrade or a rollback has come, and who alone may go on with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import Iterator

from mlflow_provision.agent.databases.journal import Journal
from mlflow_provision.agent.names import UPGRADING
from mlflow_provision.agent.protocol import AgentError

# Phases, in order. In STOPPING nothing of the server is touched but that it is stopped; in SWITCHING its databases and
# files may be anywhere; in STARTING the new one starts; once it VERIFYING, others may have written to its databases.
STOPPING, SWITCHING, STARTING, VERIFYING = "stopping", "switching", "starting", "verifying"
# The way back: databases and files may be anywhere; they are where they were.
UNDOING, RETURNING = "undoing", "returning"
PHASES = (STOPPING, SWITCHING, STARTING, VERIFYING, UNDOING, RETURNING)
MAY_START = ("", STARTING, VERIFYING, RETURNING)  # the phases in which who works on it starts a server
PATIENCE = 120.0  # seconds to wait for somebody else who goes back right now


def journal_in(folder: str) -> Journal:
    """The journal of an upgrade or a rollback, in the folder `backup` of a deployment."""
    return Journal(folder, UPGRADING)


@contextlib.contextmanager
def holding(journal: Journal, patience: float = 0.0) -> Iterator[None]:
    """One at a time: the upgrade itself, its watchdog, and whoever goes back later. Children that are forked
    meanwhile hold it too. Raises AgentError of kind "locked"."""
    descriptor = os.open(f"{journal.path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience
    try:
        while not _locked(descriptor):
            if time.monotonic() >= deadline:
                hint = "wait until it has ended, then run the same command again"
                raise AgentError("an upgrade of this server is under way", hint, "locked")
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
