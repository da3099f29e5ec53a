"""Ports on this machine: which is free."""

from __future__ import annotations

import socket

from mlflow_provision.errors import ExitCode, ProvisionError

FIRST = 5001  # 5000 is often taken: by an MLflow server here, or by AirPlay on a Mac
_TRIED = 200


def is_free(port: int) -> bool:
    """Could it be bound at 127.0.0.1 right now, and does nothing there answer on any address?"""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def first_free(preferred: int | None = None, spared: frozenset[int] = frozenset()) -> int:
    """The port of the last time if that is free, else the first free one from 5001. Those of others are spared."""
    candidates: list[int] = [*([preferred] if preferred else []), *range(FIRST, FIRST + _TRIED)]
    for port in candidates:
        if port not in spared and is_free(port):
            return port
    raise ProvisionError(
        f"no port from {FIRST} to {FIRST + _TRIED - 1} is free on this machine",
        "name another one: mlflow-provision tunnel NAME --local-port PORT",
    )


def checked(port: int, name: str) -> int:
    """A port that somebody asked for; refused if it cannot be had."""
    if not is_free(port):
        raise ProvisionError(
            f"port {port} on this machine is used by another program",
            f"take the first free one: mlflow-provision tunnel {name}",
            ExitCode.FAILED,
        )
    return port
