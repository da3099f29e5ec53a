"""Servers of ours with an older MLflow, and the people who work on them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision import blueprint, provision
from mlflow_provision.agent.protocol import FAILED, Result
from mlflow_provision.config import Deployment, MLflow, Secrets, deployment_path, save, save_secrets
from mlflow_provision.host import connect
from tests.e2e.operator import Operator, on
from tests.lab import LabHost

PEOPLE = Path(__file__).with_name("people.py").read_text()


@dataclass
class Aged:
    """A server that was laid out with MLflow `version`. Without a lab host it is in the operator's home."""

    operator: Operator
    name: str
    version: str
    host: LabHost | None = None
    made: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> str:
        return "/opt/mlflow" if self.host else f"{self.operator.home}/mlflow"

    def path(self, inside: str) -> Path:
        """A file in the folder of the server, seen from this machine."""
        path = f"{self.root}/{self.name}/{inside}"
        return self.host.path(path) if self.host else Path(path)

    def releases(self) -> set[str]:
        """The versions that are installed, each once."""
        folder = self.path("../releases")
        return {path.name.partition("-")[0] for path in folder.iterdir()}

    def release(self, version: str) -> str:
        """The folder of the release, as the host knows it."""
        (found,) = self.path("../releases").glob(f"{version}-*")
        return f"{self.root}/releases/{found.name}"

    def runs(self) -> str:
        """The version that its link leads to."""
        return Path(self.path("venv").readlink()).name.partition("-")[0]

    def pid(self) -> int:
        """The process that serves."""
        if self.host:
            shown = ["systemctl", "show", f"mlflow-{self.name}", "--property=MainPID", "--value"]
            return int(self.host.run(shown).stdout)
        return int(self.operator.json("status", self.name)["status"]["pid"])

    def databases(self) -> dict[str, str]:
        """Every byte of them, and of what is not written into them yet."""
        files = [path for path in self.path("data").glob("*.db*") if not path.name.endswith("-shm")]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def people(self, *words: str, version: str = "") -> dict[str, Any]:
        """What people do or see with the client of a release: by default the one that serves."""
        environment = self.operator.json("env", self.name)["environment"]
        given = [f"{name}={value}" for name, value in environment.items() if name.startswith("MLFLOW_TRACKING_")]
        given += ["MLFLOW_DISABLE_TELEMETRY=true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT=true"]
        argv = ["env", *given, f"{self.release(version or self.runs())}/bin/python", "-W", "ignore", "-", *words]
        return dict(json.loads(self._run(argv).splitlines()[-1]))

    def seen(self, version: str = "") -> dict[str, Any]:
        return self.people("see", json.dumps(self.made), version=version)

    def _run(self, argv: Sequence[str]) -> str:
        if self.host:
            return self.host.run(argv, input=PEOPLE, user="operator", timeout=240).stdout
        done = subprocess.run(argv, input=PEOPLE, capture_output=True, text=True, timeout=240, cwd=self.operator.home)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def filled(self) -> Aged:
        """After people have worked on it."""
        self.made = self.people("make")
        self.before = self.seen()
        return self


def laid(host: LabHost, operator: Operator, name: str, version: str, port: int) -> Aged:
    """By the library: the command line gives no new server an MLflow that is older than 3.10.0."""
    deployment = Deployment(name, on(host), mlflow=MLflow(version=version, port=port))
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in operator.environment.items():
            patch.setenv(variable, value)
        connection = connect(deployment)
        facts, _ = provision.look(connection, deployment)
        secrets = provision.with_password(deployment, Secrets(), facts)
        resources = blueprint.blueprint(deployment, secrets, facts, "operator")
        events = list(provision.apply_resources(connection, resources, deployment, facts, f"setup {name}"))
        connection.close()
        save(deployment, deployment_path(name))
        save_secrets(deployment_path(name), secrets)
    assert not [event for event in events if isinstance(event, Result) and event.verdict == FAILED]
    return Aged(operator, name, version, host)
