"""By which address a person reaches a server, and what they type to get there."""

from __future__ import annotations

import ipaddress
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment


def address(deployment: Deployment) -> str:
    """The URL from where the operator sits; behind loopback on another host it needs the tunnel."""
    listen = ipaddress.ip_address(deployment.mlflow.listen)
    port = deployment.mlflow.port
    if listen.is_loopback or (listen.is_unspecified and deployment.host == "local"):
        return f"http://127.0.0.1:{port}"
    if listen.is_unspecified:
        return f"http://{_machine(deployment.host)}:{port}"
    return f"http://[{listen}]:{port}" if listen.version == 6 else f"http://{listen}:{port}"


def needs_tunnel(deployment: Deployment) -> bool:
    return deployment.host != "local" and ipaddress.ip_address(deployment.mlflow.listen).is_loopback


def tunnel_command(deployment: Deployment) -> str:
    """OpenSSH in the background, with the server's port here as there."""
    listen = ipaddress.ip_address(deployment.mlflow.listen)
    there = f"[{listen}]" if listen.version == 6 else str(listen)
    port = deployment.mlflow.port
    identity = ["-i", deployment.identity_file] if deployment.identity_file else []
    return shlex.join(
        ["ssh", "-fN", "-o", "ExitOnForwardFailure=yes", *identity, "-L", f"{port}:{there}:{port}", deployment.host]
    )


def _machine(host: str) -> str:
    """The name of the machine in what ssh takes: no user, no port."""
    name = host.removeprefix("ssh://").rpartition("@")[2]
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0] if name.count(":") == 1 else name
