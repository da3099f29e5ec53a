"""`mlflow_provision.connect()`: a deployment inside a script or a notebook."""

from __future__ import annotations

import os
from types import TracebackType

from mlflow_provision.client import beside, variables
from mlflow_provision.tunnel import Opened, opened


class Connection(str):
    """The tracking URI, and what has to be undone. Ends with its `with` block, with `close()`, or with the process."""

    username: str
    _opened: Opened
    _before: dict[str, str | None]

    @property
    def uri(self) -> str:
        return str(self)

    def close(self) -> None:
        """The environment is as it was, and the tunnel ends unless somebody else uses it."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before = {}
        self._opened.close()

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
    os.environ.update(everything)
    return connection
