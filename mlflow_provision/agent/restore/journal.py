"""How far a restore has come: written down before each step, so that whoever comes next knows what to undo."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_provision.agent.durable import sync_folder
from mlflow_provision.agent.names import GUARD
from mlflow_provision.agent.resources.file import replace

# Phases, in order. Until STOPPING nothing of the server is touched; in SWITCHING its databases may be anywhere; from
# STARTING on others may have written to the restored ones.
STOPPING, SWITCHING, STARTING = "stopping", "switching", "starting"
# The way back: the databases may be anywhere; they are where they were.
UNDOING, RETURNING = "undoing", "returning"
PHASES = (STOPPING, SWITCHING, STARTING, UNDOING, RETURNING)


@dataclass(frozen=True)
class Journal:
    """The folder `backup` of a deployment: nobody but root (in user scope: the person) writes there. While there is a
    journal, a restore is unfinished. No secret is in it."""

    folder: str

    @property
    def path(self) -> str:
        return f"{self.folder}/restore.json"

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

    def end(self, kept: str = "") -> None:
        """Nothing is unfinished any more. `kept` is where the journal is to stay, "" for nowhere."""
        if kept:
            os.replace(self.path, kept)
        else:
            Path(self.path).unlink(missing_ok=True)
        sync_folder(self.folder)

    def close_door(self) -> None:
        """No server starts until the door is opened again."""
        replace(
            f"{self.folder}/{GUARD}", "A restore is half-way. The server's start script looks for this file.\n", 0o644
        )

    def open_door(self) -> None:
        Path(f"{self.folder}/{GUARD}").unlink(missing_ok=True)
        sync_folder(self.folder)
