"""The server itself: version, port, addresses, names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlflow_provision.config.deployment import DEFAULT_MLFLOW_VERSION, Deployment
from mlflow_provision.config.rules.urls import url_problem
from mlflow_provision.config.wording import shown

VERSION = re.compile(r"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})(?:\.(0|[1-9][0-9]{0,3}))?(rc[0-9]{1,3})?")
OLDEST = (3, 10, 0)
HIGHEST_PORT = 65535
FIRST_FREE_PORT = 1024  # the ones below are root's
MOST_WORKERS = 64
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*")


def mlflow_problems(deployment: Deployment) -> Iterator[str]:
    mlflow = deployment.mlflow
    if problem := version_problem(mlflow.version):
        yield f"mlflow.version: {problem}"
    if problem := port_problem(mlflow.port):
        yield f"mlflow.port: {problem}"
    if problem := listen_problem(mlflow.listen):
        yield f"mlflow.listen: {problem}"
    if mlflow.workers is not None and not 1 <= mlflow.workers <= MOST_WORKERS:
        yield (
            f"mlflow.workers: {shown(mlflow.workers)} cannot be used: "
            f"use 1 to {MOST_WORKERS}, or leave it out to go by the host's memory"
        )
    for number, host in enumerate(mlflow.allowed_hosts):
        if problem := allowed_host_problem(host):
            yield f"mlflow.allowed_hosts[{number}]: {problem}"
    if mlflow.index_url and (problem := url_problem(mlflow.index_url)):
        yield f"mlflow.index_url: {problem}"


def version_problem(version: str) -> str | None:
    if version == "latest":
        return "'latest' would change by itself: write the version it is today"
    match = VERSION.fullmatch(version)
    if not match:
        return f"{shown(version)} is not a version: write it like {DEFAULT_MLFLOW_VERSION}"
    return None


def age_problem(version: str) -> str | None:
    """Why no new server gets this version. One that runs it already is told to upgrade."""
    match = VERSION.fullmatch(version)
    release = tuple(int(part or 0) for part in match.groups()[:3]) if match else OLDEST
    if match and (release < OLDEST or (release == OLDEST and match[4])):
        why = "before 3.10.0 any web page that a user visits can write to MLflow with that user's login"
        return f"{shown(version)} is too old: {why}"
    return None


def port_problem(port: int) -> str | None:
    if not 1 <= port <= HIGHEST_PORT:
        return f"{shown(port)} is not a port: use a number from 1 to {HIGHEST_PORT}"
    if port < FIRST_FREE_PORT:
        return f"{port} needs root, which the server never is: use a number from {FIRST_FREE_PORT} to {HIGHEST_PORT}"
    return None


def listen_problem(address: str) -> str | None:
    if is_address(address):
        return None
    example = "127.0.0.1 for this host alone, 0.0.0.0 for every network it is on"
    return f"{shown(address)} is not an IP address: use {example}"


def allowed_host_problem(host: str) -> str | None:
    if "://" in host:
        name = host_of(host)
        return f"{shown(host)} is a URL: write the name alone" + (f", {name}" if name else "")
    if is_address(host):
        return None
    if host.startswith("["):
        return f"{shown(host)} has brackets: write the IPv6 address without them"
    if re.fullmatch(r"[^:]+:[0-9]+", host):
        return f"{shown(host)} has a port: write the name alone, every port is included"
    if "*" in host:
        return f"{shown(host)} has a '*': write every name that people use"
    if not host.isascii() and host.replace(".", "").isalnum():
        return f"{shown(host)} is not ASCII: write the name as browsers send it (xn--…)"
    if len(host) > 253 or not HOST_NAME.fullmatch(host):
        return f"{shown(host)} is neither a host name nor an IP address"
    return None


def is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # the zone of fe80::1%eth0 is a matter of one machine


def host_of(url: str) -> str:
    """The name in a URL, if it is one that we would take."""
    from urllib.parse import urlsplit

    try:
        name = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return name if name and allowed_host_problem(name) is None else ""
