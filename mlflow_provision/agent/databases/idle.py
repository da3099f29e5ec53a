"""A server that is stopped, and whose databases nobody writes to any more."""

from __future__ import annotations

import os
import time

from mlflow_provision.agent import processes
from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.protocol import AgentError

_PATIENCE = 15.0  # seconds for the last process to close a database


def wait(paths: list[str]) -> None:
    """What another process still has open would be written to where nobody looks any more."""
    deadline = time.monotonic() + _PATIENCE
    while holders := processes.who_has_open(paths):
        if time.monotonic() > deadline:
            names = ", ".join(processes.name(pid) for pid in holders)
            raise AgentError(
                f"the server is stopped, but its databases are still used by {names}",
                f"end what uses them, then run the same command again: sudo fuser -v {paths[0]}",
            )
        time.sleep(0.1)


def lock_of_backups(state: str, owner: str) -> str:
    """The file whose lock keeps backups from beginning. It is the service user's: its backups use it too."""
    path = f"{state}/lock"

    def touch() -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))

    as_user(owner, touch)
    return path
