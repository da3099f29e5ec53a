"""By which names people reach the server: what its host and origin checks must let pass."""

from __future__ import annotations

import ipaddress
from typing import Any

from mlflow_provision.config import Deployment
from mlflow_provision.ssh_target import bracketed, target_of

# `tunnel` and a local server are reached as these, on whatever port is free on the operator's machine.
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def is_loopback(listen: str) -> bool:
    return ipaddress.ip_address(listen).is_loopback


def outside_names(deployment: Deployment, facts: dict[str, Any]) -> list[str]:
    """Names other than loopback ones, in the order they were said; IPv6 addresses in brackets."""
    names = list(deployment.mlflow.allowed_hosts)
    if not is_loopback(deployment.mlflow.listen):
        if deployment.host != "local":
            names.append(target_of(deployment.host).host)
        names += [facts["hostname"], *facts["addresses"]]
    return list(dict.fromkeys(bracketed(name) for name in names if name not in LOOPBACK_NAMES))


def allowed_hosts(deployment: Deployment, facts: dict[str, Any]) -> str:
    """For MLFLOW_SERVER_ALLOWED_HOSTS, which replaces MLflow's defaults and matches exactly unless there is a `*`."""
    patterns = []
    for name in [*LOOPBACK_NAMES, *outside_names(deployment, facts)]:
        # Where there is a `*`, MLflow matches with fnmatch, to which an opening bracket is special.
        patterns += [name, name.replace("[", "[[]", 1) + ":*"]
    return ",".join(patterns)


def allowed_origins(deployment: Deployment, facts: dict[str, Any]) -> str:
    """For MLFLOW_SERVER_CORS_ALLOWED_ORIGINS; loopback origins pass MLflow's check by themselves."""
    origins = []
    for name in outside_names(deployment, facts):
        for scheme in ("http", "https"):
            origins += [f"{scheme}://{name}", f"{scheme}://{name.replace('[', '[[]', 1)}:*"]
    return ",".join(origins)
