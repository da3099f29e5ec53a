"""A systemd timer that starts something now and then; and its absence."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mlflow_provision.agent import command
from mlflow_provision.agent.resources.base import Change, Context

_PROPERTIES = "UnitFileState,ActiveState,NeedDaemonReload"
_WANTS = "/etc/systemd/system/timers.target.wants"


@dataclass(frozen=True)
class Timer:
    """The timer `unit` is enabled, waits, and knows its unit files as they are now.

    `unit_files` are the ids of the resources that write those of the timer and of its service.
    """

    id: str
    unit: str
    unit_files: tuple[str, ...]

    @property
    def title(self) -> str:
        return self.unit

    def check(self, context: Context) -> Change | None:
        state = _show(self.unit)
        wanted = []
        if state.get("UnitFileState") != "enabled":
            wanted.append("enable")
        if state.get("ActiveState") != "active":
            wanted.append("start")
        elif state.get("NeedDaemonReload") == "yes" or context.changed.intersection(self.unit_files):
            wanted.append("reload the unit files")
        return Change(", ".join(wanted)) if wanted else None

    def apply(self, context: Context) -> None:
        command.run(["systemctl", "daemon-reload"])
        command.run(["systemctl", "enable", "--quiet", self.unit])
        # A timer that waits already computes anew when to start; a backup that runs is not touched.
        command.run(["systemctl", "restart", self.unit])


@dataclass(frozen=True)
class TimerAbsent:
    """The timer and its service are stopped, disabled, and their files gone."""

    id: str
    unit: str
    service: str
    folder: str = "/etc/systemd/system"

    @property
    def title(self) -> str:
        return self.unit

    def check(self, context: Context) -> Change | None:
        # systemd is not asked: nearly every run finds nothing, and it is the same answer sooner.
        return Change("stop, disable, remove") if any(map(os.path.lexists, self._traces())) else None

    def apply(self, context: Context) -> None:
        command.capture(["systemctl", "disable", "--quiet", self.unit])
        for unit in (self.unit, self.service):
            command.capture(["systemctl", "stop", unit])
        for path in self._traces():
            Path(path).unlink(missing_ok=True)
        command.run(["systemctl", "daemon-reload"])
        command.capture(["systemctl", "reset-failed", self.unit, self.service])

    def _traces(self) -> list[str]:
        stamp = f"/var/lib/systemd/timers/stamp-{self.unit}"  # when it last started, for Persistent=
        return [f"{self.folder}/{self.unit}", f"{self.folder}/{self.service}", f"{_WANTS}/{self.unit}", stamp]


def _show(unit: str) -> dict[str, str]:
    text = command.capture(["systemctl", "show", unit, "--property=" + _PROPERTIES])
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
