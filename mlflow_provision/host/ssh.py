"""A host reached over SSH: one connection, one channel, one agent for all requests."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow_provision.agent.protocol import Event
from mlflow_provision.host import refusals
from mlflow_provision.host.ask import NOBODY, Ask
from mlflow_provision.host.exchange import Conversation
from mlflow_provision.host.link import Dialer, Link
from mlflow_provision.host.process import Process, Streams
from mlflow_provision.host.program import AGENT, BOOTSTRAP, PYTHON_FLAGS, squeeze_meanwhile
from mlflow_provision.host.replies import Reply
from mlflow_provision.host.settings import read_settings
from mlflow_provision.host.sudo import WITH_PASSWORD, WITHOUT_PASSWORD, Sudo
from mlflow_provision.host.where import Where

CHANNEL_TIMEOUT = 15.0


class SshHost:
    """The agent runs as root there, through sudo where we log in as somebody else."""

    def __init__(
        self,
        target: str,
        identity_file: str = "",
        ask: Ask = NOBODY,
        accept_new_host_key: bool = False,
        agent: Path = AGENT,
    ) -> None:
        self.label = target
        self._agent = agent
        self._settings = read_settings(target, identity_file)
        ssh = f"ssh -i {shlex.quote(identity_file)} {target}" if identity_file else f"ssh {target}"
        self._where = Where(target, ssh, self._settings.user)
        self._dialer = Dialer(ask, accept_new_host_key)
        self._sudo = Sudo(self._where, ask)
        self._conversation = Conversation(self._start, self._where, self._sudo, agent)
        self._link: Link | None = None

    def open(self) -> Link:
        """Connect, if we are not connected."""
        if self._link is not None and not self._link.transport.is_active():
            self.close()
        if self._link is None:
            squeeze_meanwhile(self._agent)
            self._link = self._dialer.open(self._settings, self._where)
        return self._link

    def request(self, verb: str, data: dict[str, Any], reply: Reply | None = None) -> Iterator[Event]:
        self.open()
        return self._conversation.request(verb, data, reply)

    def interrupt(self) -> None:
        self._conversation.interrupt()

    def close(self) -> None:
        self._conversation.close()
        if self._link:
            self._link.close()
        self._link = None

    def _start(self, with_password: bool) -> Process:
        return Process(_run(self.open().transport, remote_command(with_password), self._where))


def remote_command(with_password: bool = False) -> str:
    """For any login shell: two arguments in single quotes, without a quote, backslash or `!` inside.

    /bin/sh finds out whether we are root, which saves a round trip; the bootstrap is its $0.
    """
    python = f'python3 {PYTHON_FLAGS} -c "$0"'
    sudo = " ".join(WITH_PASSWORD if with_password else WITHOUT_PASSWORD)
    script = f'LC_ALL=C; export LC_ALL; [ "$(id -u)" = 0 ] && exec {python}; exec {sudo} {python}'
    return f"exec /bin/sh -c '{script}' '{BOOTSTRAP}'"


def _run(transport: Any, command: str, where: Where) -> Streams:
    from paramiko import ChannelException, SSHException

    try:
        channel = transport.open_session(timeout=CHANNEL_TIMEOUT)
        channel.exec_command(command)
    except ChannelException as error:
        raise refusals.no_channel(error.text, where) from None
    except (SSHException, EOFError, OSError):
        raise refusals.lost(where) from None

    def lost() -> bool:
        # Paramiko ends the channels of a dead connection a moment before it calls the connection dead.
        if channel.exit_status == -1:
            transport.join(0.1)
        return not transport.is_active()

    return Streams(
        read_output=lambda: channel.recv(65536),
        read_errors=lambda: channel.recv_stderr(65536),
        write=channel.sendall,
        end_input=channel.shutdown_write,
        wait=channel.recv_exit_status,
        close=channel.close,
        lost=lost,
    )
