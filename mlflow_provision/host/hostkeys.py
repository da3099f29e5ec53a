"""Is this the host we know? A new one is shown to a person; a changed one is fatal."""

from __future__ import annotations

import contextlib
import shlex
from typing import Any

from mlflow_provision.errors import ProvisionError
from mlflow_provision.host import hops
from mlflow_provision.host.ask import Ask
from mlflow_provision.host.hops import Broken
from mlflow_provision.host.known_hosts import KnownKey, fingerprint, known_keys, remember
from mlflow_provision.host.settings import Settings

_FRIENDLY = {"ssh-ed25519": "ED25519", "ssh-rsa": "RSA"}


class HostKeys:
    """Judges the key of one host. Paramiko knows it as its "missing host key policy"; we give it no keys of its own."""

    def __init__(self, settings: Settings, ask: Ask, accept_new: bool = False) -> None:
        self._settings = settings
        self._ask = ask
        self._accept_new = accept_new
        self._name = settings.name_in_known_hosts
        self._known = known_keys(self._name, (*settings.known_hosts, *settings.system_known_hosts))

    def preferred(self, algorithms: tuple[str, ...]) -> tuple[str, ...]:
        """Ask for the kinds of key we can check first; a host that has several would else look unknown."""
        kinds = {key.kind for key in self._known if not key.revoked}
        return tuple(sorted(algorithms, key=lambda name: _kind_of(name) not in kinds))

    def missing_host_key(self, _client: Any, _hostname: str, key: Any) -> None:
        """Called by paramiko for every host. Returns, or raises ProvisionError."""
        self.check(key.get_name(), key.asbytes())

    def check(self, kind: str, blob: bytes) -> None:
        same = [known for known in self._known if known.blob == blob]
        if any(known.revoked for known in same):
            raise self._fatal(f"the host key of {self._settings.address} is marked as revoked in {same[0].file}", "")
        if same:
            return
        known = [known for known in self._known if not known.revoked]
        if known:
            raise self._changed(next((key for key in known if key.kind == kind), known[0]), kind, blob)
        if self._known_without_port(blob):
            return
        self._ask_about(kind, blob)
        self._remember(kind, blob)

    def _known_without_port(self, blob: bytes) -> bool:
        """OpenSSH too trusts a key it knows for the same name on port 22."""
        files = (*self._settings.known_hosts, *self._settings.system_known_hosts)
        return any(known.blob == blob and not known.revoked for known in known_keys(self._settings.hostname, files))

    def _ask_about(self, kind: str, blob: bytes) -> None:
        if self._settings.refuse_unknown:
            raise self._fatal(
                f"the host {self._settings.address} is unknown, and ~/.ssh/config says StrictHostKeyChecking yes",
                f"add its key to {self._settings.known_hosts[0] if self._settings.known_hosts else 'known_hosts'}",
            )
        if self._accept_new:
            return
        shown = f"{_friendly(kind)} key {fingerprint(blob)}"
        if self._ask.confirm_host_key is None:
            raise self._fatal(
                f"the host {self._settings.address} is unknown: it shows the {shown}, and there is no terminal to ask",
                f"connect once with `ssh {self._settings.target}` and compare the fingerprint, "
                "or give --accept-new-host-key",
            )
        if not self._ask.confirm_host_key(self._settings.address, _friendly(kind), fingerprint(blob)):
            raise self._fatal(
                f"the host key of {self._settings.address} was not accepted",
                "compare the fingerprint with the one the host or your provider shows, then run the same command again",
            )

    def _remember(self, kind: str, blob: bytes) -> None:
        with contextlib.suppress(OSError):  # as ssh: a file we may not write is no reason to stop; we ask again
            for file in self._settings.known_hosts[:1]:
                remember(self._name, kind, blob, file, self._settings.hash_known_hosts)

    def _changed(self, known: KnownKey, kind: str, blob: bytes) -> ProvisionError:
        forget = f"ssh-keygen -f {shlex.quote(str(known.file))} -R {shlex.quote(self._name)}"
        return self._fatal(
            f"THE HOST KEY OF {self._settings.address} HAS CHANGED: expected the {_friendly(known.kind)} key "
            f"{fingerprint(known.blob)} ({known.file} line {known.line}), offered the {_friendly(kind)} key "
            f"{fingerprint(blob)}. Either the host was made anew, or somebody sits between you and it",
            f"only if you know why it changed: {forget}",
        )

    @staticmethod
    def _fatal(message: str, hint: str) -> ProvisionError:
        return Broken(hops.HOST_KEY, message, hint)


def _kind_of(algorithm: str) -> str:
    """An RSA key is listed as ssh-rsa, and used as rsa-sha2-512 or rsa-sha2-256."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2") else algorithm


def _friendly(kind: str) -> str:
    return _FRIENDLY.get(kind, "ECDSA" if kind.startswith("ecdsa") else kind)
