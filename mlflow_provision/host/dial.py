"""The way to a host's SSH port: TCP, or whatever a ProxyCommand does. Standard library only: this starts first."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from typing import IO, Any

from mlflow_provision.host import hops
from mlflow_provision.host.hops import Broken
from mlflow_provision.host.settings import Settings
from mlflow_provision.host.where import Where

LOST_AFTER = 20  # seconds without an answer until a link counts as dead
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
# Linux and macOS name them differently, or have no such option.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPALIVE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2}


def dial(settings: Settings, where: Where) -> socket.socket:
    """A TCP connection that notices when its link is dead."""
    failures = []
    for family, address in _addresses(settings, where):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            _configure(sock, settings.connect_timeout)
            sock.connect(address)
        except OSError as error:
            sock.close()
            failures.append(error)
        else:
            sock.settimeout(None)
            return sock
    raise _unreachable(settings, where, min(failures, key=_how_vague))


def _how_vague(error: OSError) -> int:
    """Of several addresses report what a person can act on: it said no, it did not answer, there is no way to it."""
    return 0 if isinstance(error, ConnectionRefusedError) else 1 if isinstance(error, TimeoutError) else 2


def _addresses(settings: Settings, where: Where) -> list[tuple[int, Any]]:
    family = _FAMILIES.get(settings.address_family, socket.AF_UNSPEC)
    # As bytes an ordinary name does not make Python load its tables of international ones.
    name = settings.hostname.encode() if settings.hostname.isascii() else settings.hostname
    try:
        found = socket.getaddrinfo(name, settings.port, family, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, socket.gaierror) else "not a valid name"
        raise Broken(
            hops.NAME,
            f"{where.label} cannot be reached: the name {settings.hostname!r} is not known ({why})",
            f"check the spelling, and what ~/.ssh/config makes of it: ssh -G {settings.target}",
        ) from None
    return [(family, address) for family, _, _, _, address in found]


def _configure(sock: socket.socket, timeout: float) -> None:
    sock.settimeout(timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with contextlib.suppress(OSError):
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LOST_AFTER * 1000)


def _unreachable(settings: Settings, where: Where, error: OSError) -> Broken:
    if isinstance(error, ConnectionRefusedError):
        why, hint = "connection refused: nothing listens there", "is the port right, and sshd running?"
    elif isinstance(error, TimeoutError):
        why = f"no answer within {settings.connect_timeout:.0f} s"
        hint = "is it running, is the address right, and does the firewall (on EC2: the security group) let you in?"
    else:
        why, hint = error.strerror or str(error), "is the address right, and are you online?"
    return Broken(
        hops.NETWORK,
        f"{where.label} cannot be reached at {settings.address}: {why}",
        f"{hint} To see more: ssh -v {settings.target}",
    )


class ProxyCommand:
    """A ProxyCommand of ~/.ssh/config with a socket to talk to it. Paramiko's own spins when its command dies."""

    def __init__(self, command: str) -> None:
        self.socket, theirs = socket.socketpair()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        with theirs:
            # As ssh does: the user's configuration is a shell command. Its own session, so that Ctrl-C does not end it.
            self._child = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._errors,
                start_new_session=True,
            )

    def complaints(self) -> str:
        """What it wrote to stderr."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()

    def close(self) -> None:
        self.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=1)
        if self._child.poll() is None:
            self._child.terminate()
            self._child.wait()
        self._errors.close()
