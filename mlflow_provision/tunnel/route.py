"""From where to where: which deployments need a tunnel, and how OpenSSH is told about the other end."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from mlflow_provision.ssh_target import bracketed, target_of

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment


def needs_tunnel(deployment: Deployment) -> bool:
    """Is it behind loopback on another machine?"""
    return deployment.host != "local" and ipaddress.ip_address(deployment.mlflow.listen).is_loopback


def direct_url(deployment: Deployment) -> str:
    """The URL without a tunnel. Of a server behind loopback on another host, it is the one that is true there."""
    listen = ipaddress.ip_address(deployment.mlflow.listen)
    port = deployment.mlflow.port
    if listen.is_loopback or (listen.is_unspecified and deployment.host == "local"):
        return f"http://127.0.0.1:{port}"
    if listen.is_unspecified:
        return f"http://{bracketed(target_of(deployment.host).host)}:{port}"
    return f"http://{bracketed(str(listen))}:{port}"


def remote_end(deployment: Deployment) -> str:
    """Address and port of the server, as its host sees it and as `ssh -L` wants it."""
    listen = ipaddress.ip_address(deployment.mlflow.listen)
    if listen.is_unspecified:
        return f"127.0.0.1:{deployment.mlflow.port}"
    return f"{bracketed(str(listen))}:{deployment.mlflow.port}"


def destination(host: str) -> list[str]:
    """A host as arguments of ssh, which does not take `user@name:port` as it stands."""
    said = target_of(host)
    user_flag = ["-l", said.user] if said.user else []
    port_flag = ["-p", said.port] if said.port else []
    return [*user_flag, *port_flag, "--", said.host]
