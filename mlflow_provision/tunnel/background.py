"""The supervisor that outlives its terminal: how it is started, and what it does (`python -m …tunnel.background`)."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

from mlflow_provision.ssh_target import CONFIG_VARIABLE
from mlflow_provision.tunnel import registry
from mlflow_provision.tunnel.states import Status

_LARGEST_LOG = 128 * 1024
# The package is found where ours was, in front of what is installed.
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from mlflow_provision.tunnel.background import main; main()"
)
_children: list[subprocess.Popen[bytes]] = []  # so that nobody is warned of those that still run


def start(path: Path, name: str, local_port: int | None, mode: str) -> tuple[str, subprocess.Popen[bytes]]:
    """Start a supervisor of its own session, for the deployment in this file; its token, and the process."""
    token = secrets.token_hex(8)
    package_folder = str(Path(__file__).resolve().parents[2])
    port = str(local_port) if local_port is not None else ""
    trim(registry.log_path(name))
    with registry.log_path(name).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, package_folder, str(path.absolute()), token, mode, port],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={**os.environ, **_absolute_folders()},
        )
    _children[:] = [child for child in _children if child.poll() is None] + [process]
    return token, process


def main() -> None:
    """Supervise until the end; the log file is our stdout."""
    from mlflow_provision.config import load
    from mlflow_provision.errors import ProvisionError
    from mlflow_provision.tunnel.supervised import AlreadyRunning, supervise

    path, token, mode, port = Path(sys.argv[1]), *sys.argv[2:5]
    try:
        deployment = load(path)
        supervise(deployment, path, int(port) if port else None, mode, _Log(deployment.name), token)
    except AlreadyRunning:
        sys.exit(0)
    except ProvisionError as error:
        print(f"{_now()} {error.message}", flush=True)
        sys.exit(1)


class _Log:
    """One line for each change, in a file that does not grow for ever."""

    def __init__(self, name: str) -> None:
        self._path = registry.log_path(name)

    def changed(self, status: Status) -> None:
        print(f"{_now()} {status.state.value}: {status.reason or status.url}", flush=True)
        trim(self._path)

    def seen(self, status: Status) -> None: ...


def trim(path: Path) -> None:
    """Keep the second half of a log that has grown too large. In place: it is open for appending."""
    try:
        if path.stat().st_size <= _LARGEST_LOG:
            return
        kept = path.read_bytes()[-_LARGEST_LOG // 2 :].partition(b"\n")[2]
        os.truncate(path, 0)
        with path.open("ab") as log:
            log.write(kept)
    except FileNotFoundError:
        return


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _absolute_folders() -> dict[str, str]:
    """We run in `/`: folders that the environment names from here must not move."""
    names = ("MLFLOW_PROVISION_CONFIG_DIR", registry.STATE_VARIABLE, CONFIG_VARIABLE)
    return {name: str(Path(os.environ[name]).expanduser().absolute()) for name in names if os.environ.get(name)}
