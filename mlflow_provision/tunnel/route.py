"""From where to where: which deployments need a tunnel, and how OpenSSH is told about the other end."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment

# what `ssh` takes: [ssh://][user@]name[:port], where an IPv6 address with a port has brackets
_TARGET = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?:\[(?P<v6>[^\]]+)\]|(?P<name>[^:]+))(?::(?P<port>\d+))?/?")


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
        return f"http://{_machine(deployment.host)}:{port}"
    return f"http://[{listen}]:{port}" if listen.version == 6 else f"http://{listen}:{port}"


def remote_end(deployment: Deployment) -> str:
    """Address and port of the server, as its host sees it and as `ssh -L` wants it."""
    listen = ipaddress.ip_address(deployment.mlflow.listen)
    if listen.is_unspecified:
        return f"127.0.0.1:{deployment.mlflow.port}"
    return f"[{listen}]:{deployment.mlflow.port}" if listen.version == 6 else f"{listen}:{deployment.mlflow.port}"


def destination(host: str) -> list[str]:
    """A host as arguments of ssh, which does not take `user@name:port` as it stands."""
    match = _TARGET.fullmatch(host)
    if not match:  # a bare IPv6 address
        user, _, name = host.rpartition("@")
        return [*(["-l", user] if user else []), "--", name]
    user_flag = ["-l", match["user"]] if match["user"] else []
    port_flag = ["-p", match["port"]] if match["port"] else []
    return [*user_flag, *port_flag, "--", match["v6"] or match["name"]]


def _machine(host: str) -> str:
    """The name of the machine in what ssh takes: no user, no port."""
    name = host.removeprefix("ssh://").rpartition("@")[2]
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0] if name.count(":") == 1 else name
