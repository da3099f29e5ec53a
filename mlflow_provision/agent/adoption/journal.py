"""How far an adoption has come: written down before each step, so that whoever comes next knows what to undo."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_provision.agent import command
from mlflow_provision.agent.adoption import FOLDER, JOURNAL, UNFINISHED, load
from mlflow_provision.agent.resources.file import replace


@dataclass(frozen=True)
class Journal:
    """The folder `adopted` of a deployment: the journal, the backups, and what a failed adoption left. Root's alone."""

    base: str

    @property
    def folder(self) -> str:
        return f"{self.base}/{FOLDER}"

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def read(self) -> dict[str, Any]:
        """What is written down; {} when nothing is."""
        return load(self.path(JOURNAL))

    @property
    def phase(self) -> str:
        return str(self.read().get("phase", ""))

    @property
    def unfinished(self) -> bool:
        return self.phase in UNFINISHED

    def write(self, phase: str, **more: Any) -> None:
        """The next phase begins."""
        self.make()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = json.dumps({**self.read(), **more, "phase": phase, "since": stamp}, indent=1)
        replace(self.path(JOURNAL), text + "\n", 0o600)

    def make(self) -> None:
        """The folder itself."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        os.chmod(self.folder, 0o700)

    def keep(self, name: str, data: dict[str, Any]) -> None:
        """Note something too large for the journal."""
        self.make()
        replace(self.path(name), json.dumps(data) + "\n", 0o600)

    def kept(self, name: str) -> dict[str, Any]:
        """What was noted; {} when nothing was."""
        with contextlib.suppress(OSError, ValueError):
            data = json.loads(Path(self.path(name)).read_text())
            return data if isinstance(data, dict) else {}
        return {}


@dataclass(frozen=True)
class OldUnit:
    """The unit that runs the old server ("" when none does): put to rest, and brought back as it was."""

    name: str
    path: str
    saved: str  # a folder for its files, when ours takes its place

    def state(self) -> dict[str, bool]:
        """Was it running, and started at boot?"""
        if not self.name:
            return {"active": False, "enabled": False}
        text = command.capture(["systemctl", "show", self.name, "--property=ActiveState,UnitFileState"])
        said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        active = said.get("ActiveState") in ("active", "activating", "reloading")
        return {"active": active, "enabled": said.get("UnitFileState") == "enabled"}

    def save(self) -> None:
        """Keep a copy of its files, with owner and times, before anything is done to them."""
        if self.name:
            shutil.rmtree(self.saved, ignore_errors=True)
            os.makedirs(self.saved, mode=0o700)
            shutil.copy2(self.path, self.saved)
            if os.path.isdir(self.path + ".d"):
                shutil.copytree(self.path + ".d", f"{self.saved}/{self.name}.d", symlinks=True)

    def stop(self) -> None:
        """Stop it. It still starts at boot: as long as ours does not, a host that loses its power has a server."""
        if self.name:
            command.run(["systemctl", "stop", self.name])

    def retire(self, replaced: bool) -> None:
        """Let it not start at boot. When ours is to have its name, its drop-ins must not change ours."""
        if self.name:
            command.run(["systemctl", "disable", "--quiet", self.name])
        if self.name and replaced:
            shutil.rmtree(self.path + ".d", ignore_errors=True)
            command.run(["systemctl", "daemon-reload"])

    def bring_back(self, was: dict[str, bool]) -> None:
        """Its files, its place at boot, and the server itself, as they were."""
        if not self.name:
            return
        if os.path.isdir(self.saved):
            target = Path(self.path)
            beside = target.with_name(f".{target.name}.mlflow-provision-new")
            shutil.copy2(f"{self.saved}/{self.name}", beside)
            os.replace(beside, target)
            if os.path.isdir(f"{self.saved}/{self.name}.d"):
                shutil.rmtree(self.path + ".d", ignore_errors=True)
                shutil.copytree(f"{self.saved}/{self.name}.d", self.path + ".d", symlinks=True)
        command.run(["systemctl", "daemon-reload"])
        command.capture(["systemctl", "reset-failed", self.name])
        command.run(["systemctl", "enable" if was["enabled"] else "disable", "--quiet", self.name])
        if was["active"]:
            command.run(["systemctl", "start", self.name])
