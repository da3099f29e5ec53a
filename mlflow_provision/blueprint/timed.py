"""What the installed agent does by itself at set hours: a service with its timer, or a line for a person's crontab."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from mlflow_provision.agent.resources import Resource
from mlflow_provision.agent.resources.absent import PathAbsent
from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.resources.timer import Timer, TimerAbsent
from mlflow_provision.blueprint import permissions
from mlflow_provision.blueprint.render import render
from mlflow_provision.layout import Layout, TimerUnits


@dataclass(frozen=True)
class Times:
    """When something is done: in systemd's words, spread over how long, and when in those of cron."""

    calendar: str
    jitter: str
    cron: str


@dataclass(frozen=True)
class TimedJob:
    """Work that `job`, a file on the host, tells the agent to do. `kind`, which is "backup" or "gc", begins the ids of
    its resources and ends the names of its templates."""

    kind: str
    layout: Layout
    units: TimerUnits
    job: PurePosixPath

    def units_of(self, schedule: str, times: Times, writable: list[str]) -> list[Resource]:
        """The service, which may write to the folders `writable`, and its timer; nothing in user scope."""
        if not self.layout.system:
            return []
        root = permissions.root(self.layout)
        service, timer = f"{self.kind}-unit", f"{self.kind}-timer-unit"
        return [
            File(service, str(self.units.service_file), self._service(writable), 0o644, *root),
            File(timer, str(self.units.timer_file), self._timer(schedule, times), 0o644, *root),
            Timer(f"{self.kind}-timer", self.units.timer, (service, timer)),
        ]

    def absent(self) -> list[Resource]:
        """No timer, and nothing left for it to do."""
        job = PathAbsent(f"{self.kind}-job", str(self.job))
        return [self.timer_absent(), job] if self.layout.system else [job]

    def timer_absent(self) -> TimerAbsent:
        return TimerAbsent(f"{self.kind}-timer", self.units.timer, self.units.service)

    def crontab_line(self, times: Times) -> str:
        """What a person without systemd may add with `crontab -e`."""
        return f"{times.cron} {self._python} -BEsSu {self.layout.agent} {self.job}"

    def _service(self, writable: list[str]) -> str:
        return render(
            f"mlflow-{self.kind}.service",
            name=self.layout.deployment.name,
            user=self.layout.user,
            python=self._python,
            agent=self.layout.agent,
            job=self.job,
            writable=writable,
        )

    def _timer(self, schedule: str, times: Times) -> str:
        return render(
            f"mlflow-{self.kind}.timer",
            name=self.layout.deployment.name,
            schedule=schedule,
            calendar=times.calendar,
            jitter=times.jitter,
        )

    @property
    def _python(self) -> PurePosixPath:
        """The server's own: whatever Python the agent was sent to, this one stays, and the unit can reach it."""
        return self.layout.venv / "bin" / "python"


def backup(layout: Layout) -> TimedJob:
    """Backups."""
    return TimedJob("backup", layout, layout.backup_units, layout.backup_job)


def gc(layout: Layout) -> TimedJob:
    """The collection of what was deleted on the server."""
    return TimedJob("gc", layout, layout.gc_units, layout.gc_job)
