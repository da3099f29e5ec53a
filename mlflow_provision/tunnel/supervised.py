"""A supervised tunnel with a place in the registry: what the foreground and the background have in common."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from mlflow_provision.errors import ProvisionError
from mlflow_provision.signals import handled
from mlflow_provision.tunnel import registry
from mlflow_provision.tunnel.pace import Pace
from mlflow_provision.tunnel.ports import checked, first_free
from mlflow_provision.tunnel.probe import Login
from mlflow_provision.tunnel.route import remote_end
from mlflow_provision.tunnel.states import State, Status
from mlflow_provision.tunnel.supervisor import Listener, Supervisor

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment

FOREGROUND, BACKGROUND, LEASED = "foreground", "background", "leased"
_RACES = 5  # for a free port that we lose to others before we give up
_NOBODY_FOR = 0.5  # seconds without a user after which a leased tunnel ends


class AlreadyRunning(ProvisionError):
    """Another supervisor has this tunnel."""


def login_of(path: Path, deployment: Deployment) -> Login:
    """The stored credentials, with the password empty where it is not known on this machine."""
    from mlflow_provision.config import load_secrets, secrets_beside

    return Login(deployment.auth.admin_username, load_secrets(secrets_beside(path)).admin_password)


def supervise(
    deployment: Deployment,
    path: Path,
    local_port: int | None,
    mode: str,
    listener: Listener,
    token: str = "",
    asks: bool = False,
    pace: Pace | None = None,
) -> Status:
    """Be the supervisor until the tunnel ends. Raises AlreadyRunning if there is one, ProvisionError without a port."""
    name = deployment.name
    login = login_of(path, deployment)
    claimed = registry.claim_tunnel(name)
    if not claimed:
        raise AlreadyRunning(f"a tunnel to {name} is running already", "mlflow-provision tunnel --list")
    token = token or secrets.token_hex(8)
    start = Status(
        name=name,
        host=deployment.host,
        remote=remote_end(deployment),
        port=0,
        started=time.time(),
        pid=os.getpid(),
        mode=mode,
        token=token,
    )
    end = _End(name, token, leased=mode == LEASED)
    recorder = _Recorder(listener, end)
    spared: set[int] = set()
    try:
        with _signals(end):
            while True:
                status = start.with_changes(port=_port(name, local_port, spared))
                registry.write(status)
                final = Supervisor(deployment, login, status, recorder, end, asks, pace).run()
                lost_a_race = final.state is State.PORT_TAKEN and final.checked is None and local_port is None
                if not lost_a_race or len(spared) >= _RACES:
                    break
                spared.add(status.port)
        return final
    except ProvisionError as error:
        _remember_failure(deployment, token, error)
        raise
    finally:
        claimed.release()


class _Recorder:
    """Keeps the state file new on the way to another listener: at every change, and every few seconds."""

    EVERY = 2.0

    def __init__(self, listener: Listener, end: _End) -> None:
        self._listener = listener
        self._end = end
        self._written = 0.0

    def changed(self, status: Status) -> None:
        self._write(status)
        if status.state is State.UP:
            registry.remember_port(status.name, status.port)
        self._listener.changed(status)

    def seen(self, status: Status) -> None:
        if time.monotonic() - self._written >= self.EVERY:
            self._write(status)
        self._listener.seen(status)

    def _write(self, status: Status) -> None:
        registry.write(status.with_changes(mode=self._end.mode(status.mode)))
        self._written = time.monotonic()


class _End:
    """Why a tunnel should end now: a signal, a request, or because nobody uses it any more."""

    def __init__(self, name: str, token: str, leased: bool) -> None:
        self._name, self._token = name, token
        self._leased = leased
        self._unused_since: float | None = None
        self._last_look = 0.0
        self.signal = ""
        self._unused: registry.Claim | None = None  # held to the end: a new user waits for a new tunnel

    def __call__(self) -> str:
        if self.signal:
            return self.signal
        if time.monotonic() - self._last_look < 0.2:
            return ""
        self._last_look = time.monotonic()
        if registry.asked(self._name, "stop", self._token):
            return "stopped"
        return "nobody uses it any more" if self._leased and self._nobody() else ""

    def mode(self, mode: str) -> str:
        return BACKGROUND if mode == LEASED and not self._leased else mode

    def _nobody(self) -> bool:
        if registry.asked(self._name, "keep", self._token):
            self._leased = False
            return False
        free = registry.unused(self._name)
        if free is None:
            self._unused_since = None
            return False
        self._unused_since = self._unused_since or time.monotonic()
        if time.monotonic() - self._unused_since < _NOBODY_FOR:
            free.release()
            return False
        self._unused = free
        return True


def _port(name: str, local_port: int | None, spared: Collection[int] = ()) -> int:
    """A port is free when we look and may be gone when ssh wants it: then it is one of the `spared`."""
    if local_port is not None:
        return checked(local_port, name)
    others = {status.port for status in registry.all_running(but=name)}
    return first_free(registry.last_port(name), frozenset({*others, *spared}))


def _remember_failure(deployment: Deployment, token: str, error: ProvisionError) -> None:
    """So that whoever started us in the background can tell why we ended."""
    now = time.time()
    registry.write(
        Status(deployment.name, deployment.host, "", 0, State.FAILED, error.message, error.hint, now, now, token=token)
    )


def _signals(end: _End) -> AbstractContextManager[None]:
    """SIGTERM and SIGHUP end the tunnel in good order."""

    def handle(number: int, frame: FrameType | None) -> None:
        end.signal = f"ended by {signal.Signals(number).name}"

    return handled((signal.SIGTERM, signal.SIGHUP), handle)
