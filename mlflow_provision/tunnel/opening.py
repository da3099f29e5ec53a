"""What the rest of the package asks for: a URL that leads to a deployment, through a tunnel where it needs one."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.tunnel import background, registry
from mlflow_provision.tunnel.command import find_ssh
from mlflow_provision.tunnel.route import direct_url, needs_tunnel, remote_end
from mlflow_provision.tunnel.states import State, Status
from mlflow_provision.tunnel.supervised import BACKGROUND, LEASED

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment

_TO_CONNECT = 45.0  # seconds; the supervisor itself gives up sooner
_TO_ANSWER = 20.0  # an MLflow that is just starting needs ten


@dataclass
class Opened:
    """A way to a deployment. `close()` says that it is not needed any more; so does the end of this process."""

    url: str
    port: int
    started_here: bool
    _use: registry.Claim | None = field(default=None, repr=False)

    def close(self) -> None:
        """A tunnel that was opened for this, and that nobody else uses, ends a second later; others stay."""
        if self._use:
            self._use.release()
            self._use = None


def opened(deployment: Deployment, path: Path, local_port: int | None = None) -> Opened:
    """Reuse the running tunnel or start one that lives as long as it is used, and wait until MLflow answers.

    `path` is the deployment's file. Raises ProvisionError, with code UNREACHABLE if the host is.
    """
    if not needs_tunnel(deployment):
        url = direct_url(deployment)
        return Opened(url, urlsplit(url).port or 0, started_here=False)
    use = _in_use(deployment.name)
    try:
        status, started = _running_or_started(deployment, path, local_port, LEASED)
        if not answers(status):
            raise no_answer(status)
    except BaseException:
        use.release()
        raise
    return Opened(status.url, status.port, started, use)


def kept(deployment: Deployment, path: Path, local_port: int | None = None) -> tuple[Status, bool]:
    """The tunnel that stays until it is stopped, and whether it was started here. MLflow may be down behind it."""
    use = _in_use(deployment.name)
    try:
        status, started = _running_or_started(deployment, path, local_port, BACKGROUND)
        if status.mode == LEASED:
            status = _kept(status)
    finally:
        use.release()
    return status, started


def answers(status: Status) -> bool:
    return status.state is State.UP


def stopped(status: Status, patience: float = 12.0) -> bool:
    """Ask a running tunnel to end, and wait; False if it does not."""
    registry.ask(status.name, "stop", status.token)
    deadline = time.monotonic() + patience
    while (now := registry.running(status.name)) and now.token == status.token:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True


def failure(status: Status) -> ProvisionError:
    """A tunnel that came to an end by itself, as an error."""
    code = ExitCode.UNREACHABLE
    if status.state in (State.PORT_TAKEN, State.FAILED):
        code = ExitCode.FAILED
    return ProvisionError(status.reason, status.hint, code)


def no_answer(status: Status) -> ProvisionError:
    """The tunnel runs, but MLflow does not answer through it."""
    if status.state in (State.WAITING, State.CONNECTING, State.STALLED):
        return ProvisionError(
            f"the tunnel to {status.name} has no link now: {status.reason or 'it is being made'}",
            "it mends itself; see how it is: mlflow-provision tunnel --list",
            ExitCode.UNREACHABLE,
        )
    return ProvisionError(
        f"MLflow does not answer: {status.reason}", f"see how it is: mlflow-provision status {status.name}"
    )


def _in_use(name: str) -> registry.Claim:
    use = registry.claim_use(name)
    if use is None:
        raise ProvisionError(
            f"the tunnel to {name} is ending, and does not come to its end", f"mlflow-provision tunnel --stop {name}"
        )
    return use


def _kept(status: Status) -> Status:
    """Turn a tunnel that ends with its users into one that stays."""
    registry.ask(status.name, "keep", status.token)
    deadline = time.monotonic() + 10
    while (now := registry.running(status.name)) and now.token == status.token and time.monotonic() < deadline:
        if now.mode != LEASED:
            return now
        time.sleep(0.03)
    raise ProvisionError(f"the tunnel to {status.name} ended just now", "run the same command again")


def _running_or_started(deployment: Deployment, path: Path, local_port: int | None, mode: str) -> tuple[Status, bool]:
    find_ssh()
    status = registry.running(deployment.name)
    if status:
        same_or_refused(status, deployment, local_port)
        return _settled(status.name, status.token, None), False
    token, process = background.start(path, deployment.name, local_port, mode)
    try:
        status = _settled(deployment.name, token, process)
    except BaseException:
        process.terminate()
        raise
    if status.token != token:  # somebody else was faster
        same_or_refused(status, deployment, local_port)
    return status, status.token == token


def same_or_refused(status: Status, deployment: Deployment, local_port: int | None) -> None:
    """Refuse to take one tunnel for another."""
    name = deployment.name
    if (status.host, status.remote) != (deployment.host, remote_end(deployment)):
        raise ProvisionError(
            f"the tunnel {name} that is running leads to {status.remote} on {status.host}, "
            f"not to {remote_end(deployment)} on {deployment.host}",
            f"stop it first: mlflow-provision tunnel --stop {name}",
        )
    if local_port is not None and local_port != status.port:
        raise ProvisionError(
            f"the tunnel to {name} is running already, at port {status.port}",
            f"use that one, or stop it first: mlflow-provision tunnel --stop {name}",
        )


def _settled(name: str, token: str, process: subprocess.Popen[bytes] | None) -> Status:
    """Wait until a tunnel answers, or is not going to soon; raises what ended it."""
    began = time.monotonic()
    down_since: float | None = None
    while True:
        status = registry.running(name)
        if status is None:
            _gone(name, token, process)
        else:
            token = status.token  # of the one that was faster
            if status.state is State.UP:
                return status
            down = status.state is not State.CONNECTING
            down_since = (down_since or time.monotonic()) if down else None
            if down_since and time.monotonic() - down_since > _TO_ANSWER:
                return status
        if time.monotonic() - began > _TO_CONNECT + _TO_ANSWER:
            raise ProvisionError(
                f"the tunnel to {name} does not come up", f"see what it says: less {registry.log_path(name)}"
            )
        time.sleep(0.03)


def _gone(name: str, token: str, process: subprocess.Popen[bytes] | None) -> None:
    """No supervisor has the tunnel: not yet, or not any more."""
    last = registry.remembered(name)
    if last and last.token == token and last.state.final:
        raise failure(last)
    if process is None or process.poll() is not None:
        if registry.running(name):
            return
        last = registry.remembered(name)
        if last and last.token == token and last.state.final:
            raise failure(last)
        raise ProvisionError(f"the tunnel to {name} ended", f"see what it says: less {registry.log_path(name)}")
