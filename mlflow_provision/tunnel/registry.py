"""What tunnels there are: one folder of small files, in which locks and never pids decide what is true.

`NAME.lock` is locked by the supervisor as long as it lives, however it ends. `NAME.use` is locked (shared) by everybody
who uses the tunnel. `NAME.json` is the supervisor's last status; without the lock it is a memory.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mlflow_provision.config.files import explained
from mlflow_provision.tunnel.states import Status, from_json

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment

STATE_VARIABLE = "MLFLOW_PROVISION_STATE_DIR"


def folder() -> Path:
    """There or not: it is made by the first tunnel."""
    if given := os.environ.get(STATE_VARIABLE):
        base = Path(given).expanduser()
    else:
        from platformdirs import user_state_path

        base = user_state_path("mlflow-provision")
    return base / "tunnels"


def made_folder() -> Path:
    """The same, made if it is not there, closed to others."""
    with explained(folder(), "make"):
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder()


class Claim:
    """A lock on a file, held until `release()` or the end of this process."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def release(self) -> None:
        self._file.close()


def claim(path: Path, kind: int, patience: float = 0.0) -> Claim | None:
    """A lock of that kind (`fcntl.LOCK_EX` or `LOCK_SH`); None if another one holds it longer than our patience."""
    deadline = time.monotonic() + patience
    with explained(path, "open"):
        file = open(path, "a+", opener=_private)  # noqa: SIM115
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return Claim(file)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                return None
        time.sleep(0.02)


def claim_tunnel(name: str) -> Claim | None:
    """Become the supervisor of this tunnel; None if there is one. (Those who only look hold the lock for a moment.)"""
    claimed = claim(made_folder() / f"{name}.lock", fcntl.LOCK_EX, patience=1.0)
    if claimed:
        for left in (f"{name}.json", f"{name}.stop", f"{name}.keep"):
            (folder() / left).unlink(missing_ok=True)
    return claimed


def claim_use(name: str, patience: float = 20.0) -> Claim | None:
    """Keep a tunnel that ends with its users from ending. Waits while it is just ending."""
    return claim(made_folder() / f"{name}.use", fcntl.LOCK_SH, patience)


def unused(name: str) -> Claim | None:
    """For the supervisor: nobody uses it, and nobody can begin to until the claim is released."""
    return claim(folder() / f"{name}.use", fcntl.LOCK_EX)


def is_running(name: str) -> bool:
    path = folder() / f"{name}.lock"
    if not path.exists():
        return False
    free = claim(path, fcntl.LOCK_SH)
    if free:
        free.release()
    return free is None


def running(name: str) -> Status | None:
    """The tunnel of that name, if it runs now."""
    deadline = time.monotonic() + 2
    while is_running(name):
        if status := remembered(name):
            return status
        if time.monotonic() > deadline:  # claimed, and nothing was written: its supervisor hangs
            return None
        time.sleep(0.02)
    return None


def running_on(deployment: Deployment) -> Status | None:
    """The tunnel of this deployment; not that of another one which had its name before."""
    from mlflow_provision.tunnel.route import remote_end

    status = running(deployment.name)
    if status and (status.host, status.remote) == (deployment.host, remote_end(deployment)):
        return status
    return None


def all_running(but: str = "") -> list[Status]:
    """By name; without one that is not asked, because it is the caller's own and not written yet."""
    names = sorted(path.stem for path in folder().glob("*.lock") if path.stem != but)
    return [status for name in names if (status := running(name))]


def remembered(name: str) -> Status | None:
    """The last status that was written, of a tunnel that runs or ran."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return from_json(json.loads((folder() / f"{name}.json").read_text("utf-8")))
    return None


def write(status: Status) -> None:
    """Whole or not at all. No fsync: after a power cut there is no tunnel."""
    target = folder() / f"{status.name}.json"
    beside = target.with_suffix(f".{os.getpid()}.tmp")
    with explained(target, "write"):
        beside.write_text(json.dumps(status.as_json()), "utf-8")
        beside.replace(target)


def last_port(name: str) -> int | None:
    """The local port it had the last time: people have it in their browsers."""
    with suppress(OSError, ValueError):
        return int((folder() / f"{name}.port").read_text())
    return None


def remember_port(name: str, port: int) -> None:
    (folder() / f"{name}.port").write_text(f"{port}\n")


def ask(name: str, what: str, token: str) -> None:
    """Tell the supervisor of this run to `stop`, or to `keep` on without users. It looks several times a second."""
    (folder() / f"{name}.{what}").write_text(token)


def asked(name: str, what: str, token: str) -> bool:
    """Was this run of the supervisor told so?"""
    with suppress(OSError):
        return (folder() / f"{name}.{what}").read_text() == token
    return False


def log_path(name: str) -> Path:
    return made_folder() / f"{name}.log"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
