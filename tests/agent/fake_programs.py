"""Programs that do what a test says, and write down how they were called."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from mlflow_provision.agent import command

REAL_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class FakePrograms:
    """Shell scripts in a folder before all others in the PATH; `calls` are the command lines they got."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        path = f"{folder}:{REAL_PATH}"
        monkeypatch.setattr(command, "SYSTEM_PATH", path)
        monkeypatch.setenv("PATH", path)

    def add(self, name: str, body: str = "") -> Path:
        """A program that notes its arguments and then runs `body`, a piece of shell."""
        program = self.folder / name
        log = shlex.quote(str(self._log))
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{body}\n')
        program.chmod(0o755)
        return program

    @property
    def calls(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def forget(self) -> None:
        """Start a new list of calls."""
        self._log.unlink(missing_ok=True)

    @property
    def _log(self) -> Path:
        return self.folder / ".calls"
