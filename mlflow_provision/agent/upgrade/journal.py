"""How far an upgrade has come: written down before each step, so that whoever comes next knows what to undo."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

from mlflow_provision.agent.durable import sync_folder
from mlflow_provision.agent.names import UPGRADING
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.file import replace

# Phases, in order. In STOPPING nothing of the server is touched but that it is stopped; in SWITCHING its databases and
# files may be anywhere; in STARTING the new one starts; once it VERIFYING, others may have written to its databases.
STOPPING, SWITCHING, STARTING, VERIFYING = "stopping", "switching", "starting", "verifying"
# The way back: databases and files may be anywhere; they are where they were.
UNDOING, RETURNING = "undoing", "returning"
PHASES = (STOPPING, SWITCHING, STARTING, VERIFYING, UNDOING, RETURNING)
MAY_START = ("", STARTING, VERIFYING, RETURNING)  # the phases in which who works on it starts a server
PATIENCE = 120.0  # seconds to wait for somebody else who goes back right now


@dataclass(frozen=True)
class Journal:
    """The folder `backup` of a deployment: nobody but root (in user scope: the person) writes there. While there is a
    journal, an upgrade or a rollback is unfinished. No secret is in it."""

    folder: str

    @property
    def path(self) -> str:
        return f"{self.folder}/{UPGRADING}"

    def read(self) -> dict[str, Any]:
        """What is written down; {} when nothing is."""
        with contextlib.suppress(OSError, ValueError):
            data = json.loads(Path(self.path).read_text("utf-8"))
            return data if isinstance(data, dict) else {}
        return {}

    @property
    def phase(self) -> str:
        return str(self.read().get("phase", ""))

    def write(self, phase: str, **more: Any) -> None:
        """The next phase begins."""
        text = json.dumps({**self.read(), **more, "phase": phase, "since": time.time()}, indent=1)
        replace(self.path, text + "\n", 0o600)

    def end(self) -> None:
        """Nothing is unfinished any more."""
        Path(self.path).unlink(missing_ok=True)
        sync_folder(self.folder)

    @contextlib.contextmanager
    def held(self, patience: float = 0.0) -> Iterator[None]:
        """One at a time: the upgrade itself, its watchdog, and whoever goes back later. Children that are forked
        meanwhile hold it too. Raises AgentError of kind "locked"."""
        descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
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
