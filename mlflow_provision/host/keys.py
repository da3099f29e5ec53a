"""Which keys are offered to a host, in which order, and how one is loaded."""

from __future__ import annotations

import base64
import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from cryptography.hazmat.primitives import serialization

from mlflow_provision.host.ask import Ask
from mlflow_provision.host.settings import Settings

PASSPHRASE_TRIES = 3
_BEGIN_OPENSSH = "-----BEGIN OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True)
class Candidate:
    """A key that can sign, and what to call it in a message."""

    name: str
    key: paramiko.PKey


class Keys:
    """Offers keys one by one: each costs a round trip, and a host hangs up after six."""

    def __init__(self, settings: Settings, ask: Ask) -> None:
        self._settings = settings
        self._ask = ask
        self.locked: list[Path] = []  # encrypted, and nobody to ask for the passphrase
        self.unusable: list[str] = []

    def __iter__(self) -> Iterator[Candidate]:
        with _agent(self._settings.identity_agent) as held:
            files = [path for path in self._settings.identity_files if path.is_file()]
            in_agent = {path: key for path in files for key in held if _public_blob(path) == key.asbytes()}
            others = [] if self._settings.identities_only else [key for key in held if key not in in_agent.values()]
            on_disk = [path for path in files if path not in in_agent]
            yield from (Candidate(f"{path} (in the agent)", key) for path, key in in_agent.items())
            # A key that was asked for comes before whatever else the agent holds.
            if self._settings.identity_given:
                yield from self._from_disk(on_disk)
            yield from (Candidate(f"{key.comment or key.get_name()} (in the agent)", key) for key in others)
            if not self._settings.identity_given:
                yield from self._from_disk(on_disk)

    def _from_disk(self, paths: list[Path]) -> Iterator[Candidate]:
        encrypted = []
        for path in paths:
            try:
                yield Candidate(str(path), load(path))
            except paramiko.PasswordRequiredException:
                encrypted.append(path)
            except (paramiko.SSHException, OSError, ValueError) as error:
                self.unusable.append(f"{path} ({error})")
        for path in encrypted:
            key = self._unlock(path)
            if key:
                yield Candidate(str(path), key)

    def _unlock(self, path: Path) -> paramiko.PKey | None:
        if self._ask.key_passphrase is None:
            self.locked.append(path)
            return None
        for _ in range(PASSPHRASE_TRIES):
            passphrase = self._ask.key_passphrase(str(path))
            if not passphrase:
                break
            with contextlib.suppress(paramiko.SSHException, ValueError):
                return load(path, passphrase)
        self.unusable.append(f"{path} (wrong passphrase)")
        return None


def load(path: Path, passphrase: str | None = None) -> paramiko.PKey:
    """A private key, with its certificate if there is one beside it."""
    text = path.read_text(errors="replace")
    blob = _public_blob(path) or b""
    if "BEGIN RSA" in text or blob[4:11] == b"ssh-rsa":
        key: paramiko.PKey = _load_rsa(path, passphrase)
    elif "BEGIN EC " in text or blob[4:9] == b"ecdsa":
        key = paramiko.ECDSAKey.from_private_key_file(str(path), passphrase)
    elif blob[4:15] == b"ssh-ed25519":
        key = paramiko.Ed25519Key.from_private_key_file(str(path), passphrase)
    else:
        raise ValueError("a kind of key we cannot use")
    certificate = Path(f"{path}-cert.pub")
    if certificate.is_file():
        key.load_certificate(str(certificate))
    return key


def _load_rsa(path: Path, passphrase: str | None) -> paramiko.PKey:
    """Paramiko proves that the numbers are prime: 0.04 s for an EC2 key, 0.26 s for 4096 bits. It is our own key."""
    data = path.read_bytes()
    loader = serialization.load_ssh_private_key if b"BEGIN OPENSSH" in data else serialization.load_pem_private_key
    try:
        loaded: Any = loader(data, passphrase.encode() if passphrase else None, unsafe_skip_rsa_key_validation=True)
    except TypeError:  # encrypted, or a library that has no such option yet
        if passphrase is None and b"ENCRYPTED" in data:
            raise paramiko.PasswordRequiredException("the key is encrypted") from None
        return paramiko.RSAKey.from_private_key_file(str(path), passphrase)
    return paramiko.RSAKey(key=loaded)


def _public_blob(path: Path) -> bytes | None:
    """The public half of a key file, readable without its passphrase; None where only the key itself can tell."""
    with contextlib.suppress(OSError, ValueError, IndexError, struct.error):
        text = path.read_text()
        if text.startswith(_BEGIN_OPENSSH):
            body = base64.b64decode("".join(text.split("-----")[2].split()))
            return _fifth_field(body[len(_MAGIC) :])
        if not text.startswith("-----"):  # IdentityFile may name the public half of a key that only the agent has
            return base64.b64decode(text.split()[1])
    with contextlib.suppress(OSError, ValueError, IndexError):
        return base64.b64decode(Path(f"{path}.pub").read_text().split()[1])
    return None


def _fifth_field(body: bytes) -> bytes:
    """After the magic: cipher, key derivation, its options, the number of keys (always 1), the public key."""
    for _ in range(3):
        body = body[4 + struct.unpack(">I", body[:4])[0] :]
    length = struct.unpack(">I", body[4:8])[0]
    return body[8 : 8 + length]


@contextlib.contextmanager
def _agent(socket: str) -> Iterator[tuple[Any, ...]]:
    """The keys of the SSH agent. Paramiko finds it through the environment only."""
    if socket == "none":
        yield ()
        return
    before = os.environ.get("SSH_AUTH_SOCK")
    if socket:
        os.environ["SSH_AUTH_SOCK"] = socket
    agent = None
    try:
        with contextlib.suppress(paramiko.SSHException, OSError):
            agent = paramiko.Agent()
    finally:
        if socket and before is None:
            del os.environ["SSH_AUTH_SOCK"]
        elif socket and before is not None:
            os.environ["SSH_AUTH_SOCK"] = before
    try:
        yield agent.get_keys() if agent else ()
    finally:
        if agent:
            agent.close()
