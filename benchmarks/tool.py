"""mlflow-provision as a person runs it, with deployment files of its own."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from benchmarks.clock import run
from tests.lab import LabHost

NAME = "bench"


def program() -> list[str]:
    """The installed command beside this Python, or the same thing as a module."""
    command = Path(sys.executable).with_name("mlflow-provision")
    return [str(command)] if command.exists() else [sys.executable, "-m", "mlflow_provision"]


class Tool:
    """A server on a lab host, made by mlflow-provision."""

    unit = f"mlflow-{NAME}.service"
    port = 5000

    def __init__(self, host: LabHost, folder: Path) -> None:
        self.host = host
        self.password = secrets.token_urlsafe(18)
        self.environment = {
            "MLFLOW_PROVISION_CONFIG_DIR": str(folder),
            "MLFLOW_PROVISION_SSH_CONFIG": str(host.ssh_config),
            "MLFLOW_PROVISION_ADMIN_PASSWORD": self.password,
        }
        self._first = [*program(), "setup", host.name, "--name", NAME, "--port", str(self.port), "--yes"]
        self.seconds = 0.0  # from the blank host to the verified server

    @property
    def again(self) -> list[str]:
        """The command of a re-run."""
        return [*program(), "setup", NAME, "--yes"]

    def set_up(self) -> Tool:
        self.seconds, _ = run(self._first, self.environment)
        return self
