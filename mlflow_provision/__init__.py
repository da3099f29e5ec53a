"""Turn a blank server into a verified, hardened MLflow tracking server, and look after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow_provision.connecting import Connection

__version__ = "0.1.0"
__all__ = ["__version__", "connect"]


def connect(name: str | None = None, local_port: int | None = None) -> Connection:
    """The tracking URI of a deployment, with the tunnel open and the environment set for MLflow clients.

    with mlflow_provision.connect("prod"): ...     until the end of the block
    mlflow_provision.connect("prod")               until the end of the process
    """
    from mlflow_provision.connecting import connected

    return connected(name, local_port)
