"""The command line as a person or a program runs it, on a host that is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mlflow_provision import host as host_package
from mlflow_provision.cli import cli
from mlflow_provision.config import Deployment, Secrets, deployment_path, load_secrets, save, save_secrets
from tests.unit.fake_host import FakeHost

PASSWORD = "CANARY-password-of-the-admin"


class CommandLine:
    """Runs commands against `host`, with deployment files in a folder of the test."""

    def __init__(self, folder: Path, host: FakeHost) -> None:
        self.folder = folder
        self.host = host
        self.connections: list[Deployment] = []

    def run(self, *arguments: str, answers: str | None = None) -> Result:
        return CliRunner().invoke(cli, arguments, input=answers, prog_name="mlflow-provision")

    def json(self, *arguments: str) -> dict[str, Any]:
        """The document on stdout, which holds nothing else."""
        document: dict[str, Any] = json.loads(self.run(*arguments, "--json").stdout)
        return document

    def known(self, name: str = "server", host: str = "ubuntu@box", password: str = PASSWORD, **fields: Any) -> Path:
        """Make a deployment known."""
        path = deployment_path(name)
        save(Deployment(name, host, **fields), path)
        save_secrets(path, Secrets(admin_password=password))
        return path

    def password(self, name: str) -> str:
        return load_secrets(deployment_path(name)).admin_password

    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Nothing of the person who runs the tests is read or written."""
    line = CommandLine(tmp_path / "config", FakeHost())

    def connect(deployment: Deployment, *_: object) -> FakeHost:
        line.connections.append(deployment)
        return line.host

    monkeypatch.setattr(host_package, "connect", connect)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("MLFLOW_PROVISION_CONFIG_DIR", str(line.folder))
    monkeypatch.setenv("MLFLOW_PROVISION_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("MLFLOW_PROVISION_ADMIN_PASSWORD", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    return line


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is there to answer questions, although stdin is not a terminal."""
    monkeypatch.setattr("mlflow_provision.console._person_there", lambda: True)
