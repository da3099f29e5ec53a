"""A server in somebody's home on this machine: no root, no systemd, no lab host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow_provision.agent import sockets
from tests.e2e.operator import Operator


@contextmanager
def at_home(home: Path, name: str, *options: str) -> Iterator[Operator]:
    """Who has it. It is destroyed in the end."""
    operator = Operator(home)
    try:
        operator.run("setup", "local", "--scope", "user", "--name", name, "--port", str(_port()), *options, "--yes")
        yield operator
    finally:
        operator.run("destroy", name, "--delete-data", "--yes")


def _port() -> int:
    """One that no other test process here will choose while the server is being set up."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    return sockets.free_port(5100 + 100 * worker, {listener.port for listener in sockets.listeners()})
