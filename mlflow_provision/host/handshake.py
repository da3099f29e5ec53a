"""SSH over a way that is open: Fabric and Paramiko do the work, and their exceptions become sentences."""

from __future__ import annotations

import logging
from typing import Any

import paramiko
from fabric import Config, Connection

from mlflow_provision.errors import ProvisionError
from mlflow_provision.host import hops
from mlflow_provision.host.ask import Ask
from mlflow_provision.host.hops import Broken
from mlflow_provision.host.hostkeys import HostKeys
from mlflow_provision.host.keys import Keys
from mlflow_provision.host.pulse import watch
from mlflow_provision.host.settings import Settings
from mlflow_provision.host.where import Where

HANDSHAKE_TIMEOUT = 15.0

# Else Python prints paramiko's tracebacks, of a host that hangs up for example, between our own words.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def shake_hands(settings: Settings, where: Where, sock: Any, ask: Ask, accept_new_host_key: bool) -> Any:
    """An open Fabric connection, or a ProvisionError."""
    host_keys = HostKeys(settings, ask, accept_new_host_key)

    def transport(sock: Any, **options: Any) -> paramiko.Transport:
        transport = paramiko.Transport(sock, **options)
        security = transport.get_security_options()
        security.key_types = host_keys.preferred(tuple(security.key_types))
        return transport

    connection = Connection(
        settings.hostname,
        user=settings.user,
        port=settings.port,
        gateway=False,
        # OpenSSH has read the configuration already; Fabric reads neither that nor files of its own.
        config=Config(ssh_config=paramiko.SSHConfig(), lazy=True),
        connect_timeout=int(HANDSHAKE_TIMEOUT),
        connect_kwargs={
            "sock": sock,
            "transport_factory": transport,
            "auth_strategy": Authentication(settings, where, ask),
            "banner_timeout": HANDSHAKE_TIMEOUT,
            "auth_timeout": HANDSHAKE_TIMEOUT * 2,
        },
    )
    connection.client.set_missing_host_key_policy(host_keys)
    try:
        connection.open()
    except (paramiko.SSHException, OSError, EOFError) as error:
        connection.client.close()
        raise _explained(error, settings, where) from error
    except BaseException:
        connection.client.close()
        raise
    watch(connection.transport)
    return connection


class Authentication:
    """Offers keys until one is accepted. Paramiko calls such an object an auth strategy."""

    def __init__(self, settings: Settings, where: Where, ask: Ask) -> None:
        self._settings = settings
        self._where = where
        self._keys = Keys(settings, ask)
        self._offered: list[str] = []

    def authenticate(self, transport: paramiko.Transport) -> None:
        for candidate in self._keys:
            self._offered.append(candidate.name)
            try:
                further = transport.auth_publickey(self._settings.user, candidate.key)
            except paramiko.BadAuthenticationType as error:
                raise self._refused(f"it takes no keys, only {', '.join(error.allowed_types)}") from None
            except (paramiko.SSHException, EOFError) as error:
                if not transport.is_active():
                    raise self._refused(f"then it hung up: {error}") from None
                continue
            if further:
                raise self._refused(f"it wants more than a key: {', '.join(further)}")
            return
        if not self._lets_anybody_in(transport):
            raise self._refused("")

    def _lets_anybody_in(self, transport: paramiko.Transport) -> bool:
        """Some hosts know us otherwise, by our VPN for example, and want no key."""
        try:
            return not transport.auth_none(self._settings.user)
        except (paramiko.SSHException, EOFError):
            return False

    def _refused(self, why: str) -> ProvisionError:
        target = self._settings.target
        if self._keys.locked and not self._offered:
            paths = ", ".join(map(str, self._keys.locked))
            message = f"the key {paths} is encrypted, and there is no terminal to ask for its passphrase"
            return _refusal(f"{self._where.label}: {message}", f"ssh-add {self._keys.locked[0]}")
        if not self._offered:
            unusable = f"; unusable: {', '.join(self._keys.unusable)}" if self._keys.unusable else ""
            return _refusal(
                f"there is no SSH key to offer to {self._where.label}: none in an agent, none in ~/.ssh{unusable}",
                "name the key with --identity, or load it: ssh-add PATH",
            )
        offered = ", ".join([*self._offered, *self._keys.unusable])
        return _refusal(
            f"{self._where.label} refused the user {self._settings.user!r} with every key: {offered}"
            + (f"; {why}" if why else ""),
            "is it the right user (ubuntu, admin, ec2-user …) and key (--identity)? "
            + (f"ssh-add {self._keys.locked[0]}, or see more: " if self._keys.locked else "To see more: ")
            + f"ssh -v {target}",
        )


def _explained(error: Exception, settings: Settings, where: Where) -> ProvisionError:
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        why = f"no common cryptography ({error})"
    elif "banner" in str(error):
        why = "something answers there, but not an SSH server"
    else:
        why = str(error) or "it hung up"
    return Broken(
        hops.SSHD,
        f"{where.label} cannot be reached at {settings.address}: {why}",
        f"to see more: ssh -v {settings.target}",
    )


def _refusal(message: str, hint: str) -> ProvisionError:
    return Broken(hops.LOGIN, message, hint)
