"""The running server, as the resource that starts, stops and checks it."""

from __future__ import annotations

import ipaddress
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.resources.background_process import BackgroundProcess
from mlflow_provision.agent.resources.systemd_service import SystemdService
from mlflow_provision.config import Deployment
from mlflow_provision.layout import Layout

# Ids of the resources whose change asks for a restart.
RESTART_ON = (
    "release",
    "admin",  # the server remembers passwords it has checked
    "venv",
    "server.env",
    "secrets.env",
    "basic_auth.ini",
    "aws-credentials",
    "aws-config",
    "start-script",
    "unit",
)


def url(layout: Layout) -> str:
    """Where the host itself reaches the server."""
    address = ipaddress.ip_address(layout.deployment.mlflow.listen)
    if address.is_unspecified:
        address = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")
    name = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{name}:{layout.deployment.mlflow.port}"


def watched(layout: Layout) -> list[PurePosixPath]:
    """The files the server is started with."""
    # release.json stands for the whole venv that the link points to.
    files = [
        layout.venv / "release.json",
        layout.start_script,
        layout.secrets_env,
        layout.server_env,
        layout.auth_config,
    ]
    if layout.deployment.artifacts.credentials in ("profile", "keys"):
        files += [layout.aws_credentials, layout.aws_config]
    if layout.system:
        files.append(layout.unit_file)
    return files


def service(deployment: Deployment, facts: dict[str, Any]) -> SystemdService | BackgroundProcess:
    """The service of a deployment on the host with these facts."""
    return server(Layout(deployment, PurePosixPath(facts["root"]["path"])))


def server(layout: Layout) -> SystemdService | BackgroundProcess:
    """A systemd unit in system scope, a background process in user scope."""
    files = tuple(str(path) for path in watched(layout))
    if layout.system:
        return SystemdService("service", layout.unit, url(layout), str(layout.started_with), files, RESTART_ON)
    return BackgroundProcess(
        id="service",
        script=str(layout.start_script),
        url=url(layout),
        pid_file=str(layout.pid_file),
        log=str(layout.log),
        started_with=str(layout.started_with),
        watched=files,
        restart_on=RESTART_ON,
    )
