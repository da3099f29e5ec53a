"""The deployment that is examined: what the request says of it, and what several checks look at."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Union

from mlflow_provision.agent import command
from mlflow_provision.agent.doctor.journal import Journal
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import from_json
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from mlflow_provision.agent.resources.systemd_service import SystemdService
from mlflow_provision.agent.verify.target import Target, target

_PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,MainPID,NRestarts,Result,DropInPaths,"
    "ActiveEnterTimestampMonotonic,InactiveEnterTimestampMonotonic"
)
Service = Union[SystemdService, BackgroundProcess]


class Patient:
    """One deployment on this host. What costs time is looked up once."""

    def __init__(self, data: dict[str, Any], stopping: Callable[[], bool] = lambda: False) -> None:
        self.data = data
        self.stopping = stopping
        self.verdicts: dict[str, str] = {}  # of the checks so far
        self.provoked: list[tuple[float, float]] = []  # when, from and to, a check of ours made the server fail
        self.name: str = data["name"]
        self.unit: str = data["unit"]  # "" in user scope
        self.user: str = data["user"]  # "" in user scope
        self.base: str = data["base"]
        self.databases: dict[str, str] = data["databases"]
        self.files: dict[str, str] = data["files"]
        self.backup: dict[str, Any] = data["backup"]

    @cached_property
    def service(self) -> Service:
        service = from_json(self.data["service"])
        if not isinstance(service, (BackgroundProcess, SystemdService)):
            raise AgentError(f"{service.title} is not a service")
        return service

    @cached_property
    def server(self) -> Target:
        return target(self.data["verify"])

    @cached_property
    def unit_state(self) -> dict[str, str]:
        """What systemd says of the unit."""
        text = command.capture(["systemctl", "show", self.unit, "--property=" + _PROPERTIES])
        state = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return {name: state.get(name, "") for name in _PROPERTIES.split(",")}

    @cached_property
    def pids(self) -> list[int]:
        """Every process of the server."""
        return self.service.pids()

    @cached_property
    def journal(self) -> Journal:
        """What the server, systemd and the kernel have written."""
        return Journal(self.unit, self.files.get("log", ""))

    @cached_property
    def configured(self) -> dict[str, str]:
        """The environment that the server's files give it."""
        found: dict[str, str] = {}
        for name in ("secrets_env", "server_env"):
            with contextlib.suppress(OSError, ValueError):
                for line in shlex.split(Path(self.files[name]).read_text("utf-8", "replace"), comments=True):
                    key, equals, value = line.partition("=")
                    if equals:
                        found[key] = value
        return found

    @cached_property
    def environment(self) -> dict[str, str]:
        """The environment of the server that runs, which somebody may have started otherwise; where none runs, what
        its files give it."""
        found: dict[str, str] = {}
        for pid in sorted(self.pids):  # MLflow tells its workers more than it is told itself
            with contextlib.suppress(OSError):
                raw = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace")
                told = dict(part.split("=", 1) for part in raw.split("\0") if "=" in part)
                if "MLFLOW_BACKEND_STORE_URI" in told:
                    found.update(told)
        return found or self.configured

    @cached_property
    def command_lines(self) -> list[str]:
        """The arguments of every process of the server."""
        lines = []
        for pid in self.pids:
            with contextlib.suppress(OSError):
                raw = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
                lines.append(raw.replace("\0", " ").strip())
        return lines

    @property
    def destination(self) -> str:
        """Where the server keeps artifacts, as it was told itself."""
        return self.environment.get("MLFLOW_ARTIFACTS_DESTINATION") or str(self.data["artifacts"]["destination"])

    @property
    def installed(self) -> bool:
        """Is there anything of this deployment on the host?"""
        return os.path.isdir(self.base)

    @property
    def owner_exists(self) -> bool:
        try:
            return not self.user or bool(pwd.getpwnam(self.user))
        except KeyError:
            return False
