"""A server that systemd keeps running."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from mlflow_provision.agent import command, running
from mlflow_provision.agent.cgroup import unit_of
from mlflow_provision.agent.memory import proportional
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Change, Context

_PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,MainPID,NRestarts,ActiveEnterTimestampMonotonic,Job"
)
_ATTEMPT = 60.0  # seconds; who is not healthy by then does not crash, but hangs


@dataclass(frozen=True)
class SystemdService:
    """A unit that is enabled, running, healthy at `url`, and started with the files as they are now.

    `watched` are the files whose change asks for a restart; `restart_on` the ids of the resources that write them.
    """

    id: str
    unit: str
    url: str
    started_with: str
    watched: tuple[str, ...]
    restart_on: tuple[str, ...]

    @property
    def title(self) -> str:
        return self.unit

    def check(self, context: Context) -> Change | None:
        wanted = self._wanted(context)
        return Change(", ".join(wanted)) if wanted else None

    def _wanted(self, context: Context) -> list[str]:
        state = self._show()
        wanted = []
        if state["UnitFileState"] != "enabled":
            wanted.append("enable")
        if state["ActiveState"] != "active":
            wanted.append("start")
        else:
            reasons = [name for name in self.restart_on if name in context.changed]
            reasons = reasons or [Path(path).name for path in running.stale(self.started_with, self.watched)]
            unhealthy = running.health(self.url)
            if reasons:
                wanted.append("restart (changed: {})".format(", ".join(reasons)))
            elif unhealthy:
                wanted.append(f"restart ({unhealthy})")
        if not wanted and state["NeedDaemonReload"] == "yes":
            wanted.append("reload the unit file")
        return wanted

    def apply(self, context: Context) -> None:
        wanted = self._wanted(context)
        command.run(["systemctl", "daemon-reload"])
        command.run(["systemctl", "enable", "--quiet", self.unit])
        if any(action.startswith(("start", "restart")) for action in wanted):
            command.run(["systemctl", "stop", self.unit])
            self._start(context.stopping)

    def start(self, stopping: Callable[[], bool]) -> dict[str, Any]:
        """Start unless it runs; returns the status once healthy."""
        state = self._show()
        if state["LoadState"] != "loaded":
            raise _not_set_up(self.unit)
        active = state["ActiveState"] == "active"
        if not active or running.health(self.url):
            if not (active and _young(state) and not self._keeps_dying(state)):
                # What systemd has begun by itself after a crash would pass for ours, and so would its crash.
                self.stop(stopping)
            self._start(stopping)
        return self.status()

    def restart(self, stopping: Callable[[], bool]) -> dict[str, Any]:
        """Restart; returns the status once healthy."""
        if self._show()["LoadState"] != "loaded":
            raise _not_set_up(self.unit)
        # Not `systemctl restart`: the old server would still answer, and pass for the new one.
        self.stop(stopping)
        self._start(stopping)
        return self.status()

    def stop(self, stopping: Callable[[], bool]) -> dict[str, Any]:
        """Stop; returns when every process is gone."""
        command.run(["systemctl", "stop", self.unit])
        return self.status()

    def status(self) -> dict[str, Any]:
        """What runs: `running`, `healthy`, `pid`, `seconds` up, `memory` (bytes, PSS), `restarts`, `problem`."""
        state = self._show()
        active = state["ActiveState"] == "active"
        problem = running.health(self.url) if active else ""
        if state["LoadState"] != "loaded":
            problem = "not set up on this host"
        elif state["ActiveState"] in ("failed", "activating") or (problem and self._keeps_dying(state)):
            problem = self._last_words()
        since = int(state["ActiveEnterTimestampMonotonic"] or 0) / 1e6
        return {
            "running": active,
            "healthy": active and not problem,
            "enabled": state["UnitFileState"] == "enabled",
            "pid": int(state["MainPID"] or 0),
            "seconds": round(time.monotonic() - since, 1) if active else 0.0,
            "memory": proportional(self.pids()) if active else 0,
            "restarts": int(state["NRestarts"] or 0),
            "problem": problem,
        }

    def pids(self) -> list[int]:
        """Every process of the unit, wherever its control group is mounted."""
        group = command.capture(["systemctl", "show", self.unit, "--property=ControlGroup", "--value"]).strip()
        for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"):
            listing = f"{mount}{group}/cgroup.procs"
            if group and os.path.exists(listing):
                return [int(pid) for pid in Path(listing).read_text().split()]
        return []

    def _start(self, stopping: Callable[[], bool]) -> None:
        # A unit that keeps failing would refuse to start; counting restarts anew also tells this start's crashes.
        command.capture(["systemctl", "reset-failed", self.unit])
        before = int(self._show()["NRestarts"] or 0)
        command.run(["systemctl", "--no-block", "start", self.unit])
        try:
            running.wait_healthy(self.url, lambda: self._died(before), stopping, ours=self._is_ours)
        except AgentError as error:
            hint = f"read more: sudo journalctl -u {self.unit} -n 200"
            said = f"; it said:\n{self._last_words()}" if error.kind == "unhealthy" else ""
            raise AgentError(error.message + said, error.hint or hint, error.kind) from None

    def _is_ours(self, pid: int) -> bool:
        return unit_of(pid) == self.unit

    def _died(self, restarts_before: int) -> str:
        state = self._show()
        if state["ActiveState"] == "inactive" and state["Job"] in ("", "0"):
            return "it was stopped while it was starting, by somebody else"
        crashed = (
            state["ActiveState"] == "failed"
            or state["SubState"] == "auto-restart"
            or int(state["NRestarts"] or 0) > restarts_before
            or self._respawning()
        )
        return self._last_words() if crashed else ""

    def _keeps_dying(self, state: dict[str, str]) -> bool:
        """Is what runs just now only the next attempt?"""
        return (_young(state) and int(state["NRestarts"] or 0) > 0) or self._respawning()

    def _respawning(self) -> bool:
        """With several workers uvicorn replaces a dead one for ever, and the unit looks active all the while."""
        return sum("Child process" in line and "died" in line for line in self._journal()) >= 2

    def _journal(self, earlier: float = 0.0) -> list[str]:
        """What it said since it was started, and so many seconds before."""
        since = int(self._show()["ActiveEnterTimestampMonotonic"] or 0) / 1e6
        seconds = max(5, int(time.monotonic() - since) + 5) + int(earlier) if since else 60
        argv = ["journalctl", "--unit", self.unit, "--no-pager", "--output=cat", "--lines=200", f"--since=-{seconds}s"]
        return command.capture(argv).splitlines()

    def _last_words(self) -> str:
        """Why it died. What runs just now may be the next attempt, which has said nothing yet."""
        words = running.relevant(self._journal())
        if not words or words.startswith(" ") or _only_systemd(words):
            words = running.relevant([line for line in self._journal(_ATTEMPT) if not _only_systemd(line)]) or words
        return words or "it printed nothing"

    def _show(self) -> dict[str, str]:
        text = command.capture(["systemctl", "show", self.unit, "--property=" + _PROPERTIES])
        state = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return {name: state.get(name, "") for name in _PROPERTIES.split(",")}


def _only_systemd(words: str) -> bool:
    """Is nothing of it the server's own? systemd tells that it started, ended or waits."""
    return all(".service" in line for line in words.splitlines())


def _young(state: dict[str, str]) -> bool:
    return time.monotonic() - int(state["ActiveEnterTimestampMonotonic"] or 0) / 1e6 < _ATTEMPT


def _not_set_up(unit: str) -> AgentError:
    return AgentError(f"there is no {unit} on this host", "set it up: mlflow-provision setup NAME")
