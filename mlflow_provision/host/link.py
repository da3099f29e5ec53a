"""An open SSH connection: through its gateways, with its host key checked and a key accepted."""

from __future__ import annotations

import contextlib
import gc
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlflow_provision.errors import ProvisionError
from mlflow_provision.host import hops
from mlflow_provision.host.ask import Ask
from mlflow_provision.host.dial import ProxyCommand, dial
from mlflow_provision.host.hops import Broken
from mlflow_provision.host.settings import Settings, read_settings
from mlflow_provision.host.where import Where

MOST_HOPS = 8


@dataclass
class Link:
    """Fabric's connection, and what it runs over."""

    connection: Any
    close_way: Callable[[], None]

    @property
    def transport(self) -> Any:
        return self.connection.transport

    def close(self) -> None:
        close_quickly(self.connection)
        self.close_way()


@dataclass(frozen=True)
class Dialer:
    """Opens links. `accept_new_host_key` and the questions hold for every gateway on the way."""

    ask: Ask
    accept_new_host_key: bool = False

    def open(self, settings: Settings, where: Where, jumps: tuple[str, ...] | None = None, depth: int = 0) -> Link:
        """`jumps` are gateways given by whoever needs this one; else the host's own configuration tells."""
        jumps = settings.proxy_jump if jumps is None else jumps
        if depth > MOST_HOPS:
            raise _error(f"the ProxyJump settings of {where.label} go round in circles", f"ssh -G {settings.target}")
        if jumps:
            return self._through_gateway(settings, where, jumps, depth)
        if settings.proxy_command:
            return self._through_command(settings, where)
        sock = dial(settings, where)
        return self._handshake(settings, where, sock, sock.close)

    def _through_gateway(self, settings: Settings, where: Where, jumps: tuple[str, ...], depth: int) -> Link:
        # As ssh: the last gateway is reached through those before it, or else by its own configuration.
        gateway_settings = read_settings(jumps[-1])
        gateway_where = Where(f"the gateway {jumps[-1]}", f"ssh {jumps[-1]}", gateway_settings.user)
        gateway = self.open(gateway_settings, gateway_where, jumps[:-1] or None, depth + 1)
        try:
            channel = _channel_to(settings, where, gateway, gateway_where)
            return self._handshake(settings, where, channel, gateway.close)
        except BaseException:
            gateway.close()
            raise

    def _through_command(self, settings: Settings, where: Where) -> Link:
        proxy = ProxyCommand(settings.proxy_command)
        try:
            return self._handshake(settings, where, proxy.socket, proxy.close)
        except Broken as error:
            said = proxy.complaints().splitlines()[-1:]
            proxy.close()
            message = "; its ProxyCommand said: ".join([error.message, *said])
            # A command that complains and hangs up never brought us to an SSH server.
            hop = hops.NETWORK if said and error.hop == hops.SSHD else error.hop
            raise Broken(hop, message, error.hint, error.code) from error
        except BaseException:
            proxy.close()
            raise

    def _handshake(self, settings: Settings, where: Where, sock: Any, close_way: Callable[[], None]) -> Link:
        try:
            return Link(_load_handshake()(settings, where, sock, self.ask, self.accept_new_host_key), close_way)
        except BaseException:
            sock.close()
            raise


def _load_handshake() -> Callable[..., Any]:
    """Imported late: it takes 0.1 s, in which the other end already starts its half of the handshake.

    A quarter of that goes into looking for garbage among the new modules; there is none.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        from mlflow_provision.host.handshake import shake_hands
    finally:
        if collecting:
            gc.enable()
    return shake_hands


def _channel_to(settings: Settings, where: Where, gateway: Link, gateway_where: Where) -> Any:
    from paramiko import ChannelException, SSHException

    try:
        return _Through(
            gateway.transport.open_channel(
                "direct-tcpip", (settings.hostname, settings.port), ("127.0.0.1", 0), timeout=settings.connect_timeout
            )
        )
    except (ChannelException, SSHException, EOFError) as error:
        why = error.text if isinstance(error, ChannelException) else str(error) or "it hung up"
        raise _error(
            f"{gateway_where.label} cannot reach {where.label} at {settings.address}: {why}",
            f"to see more: ssh -v {settings.target}",
        ) from None


class _Through:
    """A gateway's channel used as a socket. Paramiko's thread dies with a traceback when it closes one whose gateway
    is gone already."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._channel.close()


def close_quickly(connection: Any) -> None:
    """Paramiko's thread looks up every 0.1 s; a socket that is shut down wakes it at once."""
    transport = connection.client.get_transport() if connection.client else None
    if transport is not None:
        with contextlib.suppress(OSError, EOFError):
            transport.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


def _error(message: str, hint: str) -> ProvisionError:
    return Broken(hops.NETWORK, message, hint)
