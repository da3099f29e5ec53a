"""An MLflow server as the setup scripts of ML teams leave it: everything in one's own home, and a unit."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from tests.e2e.waiting import until
from tests.lab import LabHost
from tests.lab.host import UV_CACHE

TREE = "/home/operator/mlflow-server"
UNIT = "mlflow-server.service"
ADMIN_PASSWORD = "CANARY-old-admin-password"
USERS = {"ada": "CANARY-password-of-ada", "grace": "CANARY-password-of-grace"}
SECRET_KEY = "CANARY-flask-secret-key"

# uv stands in for the script's pip, which takes half a minute for the same packages.
INSTALL = f"""
set -e
mkdir -p {TREE} && cd {TREE}
UV_CACHE_DIR={UV_CACHE} UV_SYSTEM_CERTS=1 UV_LINK_MODE=copy sudo -E /usr/local/bin/uv venv -q venv
UV_CACHE_DIR={UV_CACHE} UV_SYSTEM_CERTS=1 sudo -E /usr/local/bin/uv pip install -q --python venv/bin/python "$@"
sudo chown -R operator:operator {TREE}
"""


@dataclass(frozen=True)
class OldServer:
    """What a script is told. `options` are those of `mlflow server` that say where artifacts go."""

    options: str = "--artifacts-destination ./mlartifacts"
    auth: bool = True
    port: int = 5000
    environment: str = ""  # lines of shell in the start script
    aws: dict[str, str] = field(default_factory=dict)  # a file in ~/.aws → its text

    def install(self, host: LabHost) -> None:
        """Run the script: files, unit, start; returns when the server answers."""
        files = {"start_mlflow_server.sh": self.start_script}
        if self.auth:
            files[".mlflow_auth_config"] = AUTH_CONFIG
        for name, text in files.items():
            host.run(["tee", f"{TREE}/{name}"], input=text, user="operator")
        host.run(["chmod", "+x", f"{TREE}/start_mlflow_server.sh"])
        for name, text in self.aws.items():
            host.run(["mkdir", "-p", "/home/operator/.aws"], user="operator")
            host.run(["tee", f"/home/operator/.aws/{name}"], input=text, user="operator")
            host.run(["chmod", "600", f"/home/operator/.aws/{name}"])
        host.run(["tee", f"/etc/systemd/system/{UNIT}"], input=UNIT_TEXT)
        host.run(["systemctl", "daemon-reload"])
        host.run(["systemctl", "enable", "--quiet", "--now", UNIT])
        self.wait(host)

    def wait(self, host: LabHost) -> None:
        asked = ["curl", "-s", f"http://127.0.0.1:{self.port}/health"]
        log = ["journalctl", "-u", UNIT, "--no-pager", "-n", "30"]
        until(lambda: "OK" in host.run(asked, check=False).stdout, lambda: host.run(log, check=False).stdout, pause=0.2)

    @property
    def start_script(self) -> str:
        app = "--app-name basic-auth" if self.auth else ""
        config = 'export MLFLOW_AUTH_CONFIG_PATH="$PWD/.mlflow_auth_config"' if self.auth else ""
        return dedent(f"""\
            #!/bin/bash
            # Start script for the MLflow server
            cd "$(dirname "$0")"
            source venv/bin/activate
            PORT={self.port}
            {config}
            export MLFLOW_FLASK_SERVER_SECRET_KEY='{SECRET_KEY}'
            export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
            {self.environment}
            exec mlflow server \\
                --backend-store-uri sqlite:///mlflow.db \\
                --host 0.0.0.0 --port "$PORT" --workers 1 \\
                {self.options} {app}
            """)

    def fill(self, host: LabHost, program: str = "") -> dict[str, str]:
        """Let people work with it, through its own client; returns the ids of what they made."""
        environment = ["MLFLOW_TRACKING_URI=" + f"http://127.0.0.1:{self.port}", "MLFLOW_DISABLE_TELEMETRY=true"]
        if self.auth:
            environment += ["MLFLOW_TRACKING_USERNAME=admin", f"MLFLOW_TRACKING_PASSWORD={ADMIN_PASSWORD}"]
        argv = [
            "env",
            *environment,
            f"{TREE}/venv/bin/python",
            "-W",
            "ignore",
            "-c",
            program or FILL,
            json.dumps(self.auth),
        ]
        said = host.run(argv, user="operator", timeout=120).stdout
        made: dict[str, str] = json.loads(said.strip().splitlines()[-1])
        return made


AUTH_CONFIG = dedent(f"""\
    [mlflow]
    default_permission = EDIT
    database_uri = sqlite:///basic_auth.db
    admin_username = admin
    admin_password = {ADMIN_PASSWORD}
    authorization_function = mlflow.server.auth:authenticate_request_basic_auth
    """)

UNIT_TEXT = dedent(f"""\
    [Unit]
    Description=MLflow Tracking Server
    After=network.target

    [Service]
    User=operator
    WorkingDirectory={TREE}
    Environment=CANARY_IN_UNIT=CANARY-in-the-unit
    ExecStart={TREE}/start_mlflow_server.sh
    Restart=on-failure

    [Install]
    WantedBy=multi-user.target
    """)

FILL = f"""
import json, os, pathlib, requests, sys, tempfile
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
auth = json.loads(sys.argv[1])
client = MlflowClient()
made = {{"experiment": client.create_experiment("größe & co")}}
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    (folder / "nested" / "deeper").mkdir(parents=True)
    (folder / "model.bin").write_bytes(bytes(range(256)) * 4096)
    (folder / "nested" / "deeper" / "näme with space.txt").write_text("precious")
    for number in range(3):
        run = client.create_run(made["experiment"], run_name=f"run {{number}}").info.run_id
        client.log_batch(
            run,
            [Metric("loss", 1 / (step + 1), 1700000000000 + step, step) for step in range(5)],
            [Param("rate", "0.1"), Param("long", "x" * 3000)],
            [RunTag("colour", "blue")],
        )
        if number < 2:
            client.log_artifacts(run, str(folder))
        client.set_terminated(run)
        made[f"run{{number}}"] = run
client.delete_run(made["run2"])
client.create_registered_model("churn")
client.create_model_version("churn", client.get_run(made["run0"]).info.artifact_uri + "/nested", made["run0"])
if auth:
    def post(path, **data):
        who = (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"])
        requests.post(os.environ["MLFLOW_TRACKING_URI"] + path, json=data, auth=who).raise_for_status()
    for name, password in {USERS!r}.items():
        post("/api/2.0/mlflow/users/create", username=name, password=password)
    permission = dict(resource_type="experiment", resource_id=made["experiment"], permission="MANAGE")
    post("/api/3.0/mlflow/users/permissions/grant", username="ada", **permission)
print(json.dumps(made))
"""


FIRST_START = "mlflow.server.auth, mlflow.server.fastapi_app"


def install_packages(host: LabHost, *requirements: str, imported: str = FIRST_START) -> None:
    """What the script does first: a virtual environment with MLflow. `imported`: what its first start compiles."""
    from uv import find_uv_bin

    host.path("/usr/local/bin/uv").write_bytes(Path(find_uv_bin()).read_bytes())
    host.run(["chmod", "755", "/usr/local/bin/uv"])
    host.run(["sh", "-c", INSTALL, "install", *(requirements or ("mlflow[auth]==3.17.2", "boto3"))], user="operator")
    host.run(["rm", "/usr/local/bin/uv"])
    # What a first start leaves: bytecode.
    environment = ["env", "MLFLOW_FLASK_SERVER_SECRET_KEY=x"]
    argv = [f"{TREE}/venv/bin/python", "-W", "ignore", "-c", f"import {imported}"]
    host.run([*environment, *argv], user="operator")


def fingerprint(host: LabHost, folder: str = TREE) -> str:
    """Every file below a folder with its mode, owner, time and sum; without the virtual environment."""
    find = f"cd {shlex.quote(folder)} && find . -path ./venv -prune -o -printf '%p %m %U %G %T@ %s %y\\n' | sort"
    sums = f"cd {shlex.quote(folder)} && find . -path ./venv -prune -o -type f -print0 | sort -z | xargs -0 sha256sum"
    return host.run(["sh", "-c", f"{find}; {sums}"]).stdout
