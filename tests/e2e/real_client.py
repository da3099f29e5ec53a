"""MLflow's own client on a host, as a user who has no key for any cloud and may read nobody's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

from mlflow_provision.client import beside
from tests.e2e.operator import Operator
from tests.lab import LabHost

USER = "nosudo"
BEGINNING = """
import json, os, pathlib, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
import mlflow
from mlflow import MlflowClient
client = MlflowClient()
given = json.loads(sys.argv[1])
made = {}
"""


@dataclass
class RealClient:
    """`python` is one that has MLflow. `environment` says which server, and as whom."""

    host: LabHost
    python: str
    environment: dict[str, str]
    user: str = USER

    def run(self, program: str, timeout: float = 600, **given: Any) -> Any:
        """Run a program, which finds `client` and `given` and leaves what it has to say in `made`."""
        text = BEGINNING + dedent(program) + "\nprint(json.dumps(made))\n"
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        variables += ["MLFLOW_DISABLE_TELEMETRY=true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES=1", "HOME=/home/" + self.user]
        argv = ["env", "-C", "/tmp", *variables, self.python, "-W", "ignore", "-c", text, json.dumps(given)]
        said = self.host.run(argv, user=self.user, timeout=timeout).stdout
        return json.loads(said.strip().splitlines()[-1])


def at_server(operator: Operator, host: LabHost, name: str) -> RealClient:
    """The administrator of a server of ours, on its host, with its own release's client. It reads through the server:
    what a client fetches from the store itself would show nothing of what the server can do."""
    login = operator.json("env", name)["environment"]
    port = operator.toml(name).read_text().partition("\nport = ")[2].partition("\n")[0] or "5000"
    login["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
    release = host.run(["readlink", "-f", f"/opt/mlflow/{name}/venv"]).stdout.strip()
    return RealClient(host, f"{release}/bin/python", beside(login, {}))
