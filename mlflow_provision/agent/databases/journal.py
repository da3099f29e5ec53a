"""How far a change of the databases has come: written down before each step, so that whoever comes next knows what to
undo."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_provision.agent.durable import sync_folder
from mlflow_provision.agent.resources.file import replace


@dataclass(frozen=True)
class Journal:
    """A file in the folder `backup` of a deployment: nobody but root (in user scope: the person) writes there. While
    it is there, what it tells of is unfinished. No secret is in it."""

    folder: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"

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
