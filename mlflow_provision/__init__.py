"""Turn a blank server into a verified, hardened MLflow tracking server, and look after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_provision.connecting import Connection as Connection
    from mlflow_provision.errors import ProvisionError as ProvisionError

__version__ = "0.1.0"
__all__ = ["Connection", "ProvisionError", "__version__", "connect"]

_ELSEWHERE = {"Connection": "connecting", "ProvisionError": "errors"}  # imported when they are asked for


def connect(name: str | None = None, local_port: int | None = None) -> Connection:
    """The tracking URI of a deployment (the only one, without a name), with the way to it open and the login set.

    It opens a tunnel where one is needed, or uses the one that runs, and sets MLFLOW_TRACKING_URI,
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in `os.environ`:

        import mlflow, mlflow_provision

        with mlflow_provision.connect("prod"):      # until the end of the block; then all is as it was
            mlflow.log_metric("loss", 0.1)

        uri = mlflow_provision.connect("prod")      # until uri.close(), or the end of the process

    Raises ProvisionError: its `message` says what is wrong, its `hint` what to type.
    """
    from mlflow_provision.connecting import connected

    return connected(name, local_port)


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ELSEWHERE[name]}"), name)
