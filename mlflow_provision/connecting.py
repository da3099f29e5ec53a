"""`mlflow_provision.connect()`: a deployment inside a script or a notebook."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any

from mlflow_provision.client import beside, variables
from mlflow_provision.tunnel import Opened, opened

# Held until they are closed: a tunnel ends with the last who uses it, and `connect("prod")` keeps nothing.
_connections: list[Connection] = []


class Connection(str):
    """The tracking URI, and what has to be undone. Ends with its `with` block, with `close()`, or with the process."""

    username: str
    _opened: Opened
    _before: dict[str, str | None]
    _mlflow_before: str | None  # what somebody told an imported mlflow; "": nothing; None: no mlflow was told by us

    @property
    def uri(self) -> str:
        return str(self)

    def close(self) -> None:
        """The environment is as it was, and the tunnel ends unless somebody else uses it. Again: nothing."""
        if self._mlflow_before is not None:
            _mlflow().set_tracking_uri(self._mlflow_before)  # it writes MLFLOW_TRACKING_URI, so it goes first
            self._mlflow_before = None
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before = {}
        self._opened.close()
        _connections[:] = [other for other in _connections if other is not self]

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def connected(name: str | None = None, local_port: int | None = None) -> Connection:
    """Open the way to a deployment (the only one, without a name) and set MLFLOW_TRACKING_URI, _USERNAME, _PASSWORD.

    Raises ProvisionError: its `message` says what is wrong, its `hint` what to type.
    """
    from mlflow_provision.cli.deployments import chosen

    deployment, path = chosen(name)
    way = opened(deployment, path, local_port)
    try:
        needed = variables(deployment, path, way.url)
    except BaseException:
        way.close()
        raise
    connection = Connection(way.url)
    connection.username = needed["MLFLOW_TRACKING_USERNAME"]
    connection._opened = way
    everything = beside(needed, os.environ)
    connection._before = {variable: os.environ.get(variable) for variable in everything}
    connection._mlflow_before = _told()
    os.environ.update(everything)
    if connection._mlflow_before is not None:
        _mlflow().set_tracking_uri(str(connection))
    _connections.append(connection)
    return connection


def _mlflow() -> Any:
    """The mlflow that the program has imported already, or None; one that has not reads the environment in time."""
    found = sys.modules.get("mlflow")
    return found if hasattr(found, "set_tracking_uri") else None


def _told() -> str | None:
    """What an imported mlflow was told itself, which is worth more to it than the environment; None without one."""
    mlflow = _mlflow()
    if mlflow is None:
        return None
    uri = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else ""
    return "" if uri == os.environ.get("MLFLOW_TRACKING_URI") else str(uri)
