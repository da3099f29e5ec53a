"""Keys of encrypted backups, on the operator's side: age identities (https://age-encryption.org/v1), their recipients.

A host gets recipients only. What opens a backup, the identity, is kept here, or derived from a passphrase.
"""

from __future__ import annotations

import functools
import hashlib
import json
import threading
import unicodedata
from collections.abc import Sequence
from typing import Any

from mlflow_provision.errors import ExitCode, ProvisionError

IDENTITY_PREFIX, RECIPIENT_PREFIX = "age-secret-key-", "age"
KEY_SIZE = 32  # bytes, of either half of an X25519 key
_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # of Bech32 (BIP 173)
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_LENGTH = 6

# One guess costs 128 MiB and a third of a second: the recipient, which anybody may see, lets people try passphrases.
_LOG_N, _R, _P = 17, 8, 1
_LARGEST = {"log_n": 20, "r": 16, "p": 4}  # of a manifest, which may have been tampered with: 2 GiB


def generate() -> tuple[str, str]:
    """A new identity, and its recipient."""
    import secrets

    return _pair(secrets.token_bytes(KEY_SIZE))


def recipient_of(identity: str) -> str:
    """The recipient whose backups this identity opens. Raises ProvisionError for what is no identity."""
    if problem := identity_problem(identity):
        raise ProvisionError(f"the key to open backups {problem}", _IDENTITY_HINT, ExitCode.USAGE)
    return _pair(_decoded(identity.strip().lower(), IDENTITY_PREFIX) or b"")[1]


def from_passphrase(passphrase: str, kdf: dict[str, Any]) -> str:
    """The identity that belongs to a passphrase; `kdf` as in the manifest of a backup. Takes a third of a second."""
    wanted = (passphrase, json.dumps(kdf, sort_keys=True))
    if wanted in _begun:
        _begun[wanted].join()
    return _derived(*wanted)


def begin(passphrase: str, kdf: dict[str, Any]) -> None:
    """Work out in the background what will be asked for: there is a host to be reached meanwhile."""
    wanted = (passphrase, json.dumps(kdf, sort_keys=True))
    if wanted not in _begun:
        _begun[wanted] = threading.Thread(target=_derived, args=wanted, daemon=True)
        _begun[wanted].start()


_begun: dict[tuple[str, str], threading.Thread] = {}


def kdf_for(destination: str, name: str) -> dict[str, Any]:
    """How the passphrase of this deployment becomes its identity: the same on every machine, without anything kept.

    Every deployment and place has a salt of its own, so that no table of guesses serves for two."""
    salt = hashlib.sha256(f"mlflow-provision backups\n{destination}\n{name}".encode()).hexdigest()[:32]
    return {"name": "scrypt", "salt": salt, "log_n": _LOG_N, "r": _R, "p": _P}


def identity_problem(text: str) -> str | None:
    """Why this is no age identity; never says it."""
    text = text.strip()
    if text != text.upper() and text != text.lower():
        return "mixes capitals and small letters: it was not copied right"
    if not text.lower().startswith(IDENTITY_PREFIX):
        return "is not an age identity: those begin with AGE-SECRET-KEY-1"
    return None if _decoded(text.lower(), IDENTITY_PREFIX) else "has a typing error in it: its check letters do not fit"


def recipient_problem(text: str) -> str | None:
    """Why this is no age recipient."""
    if text.lower().startswith(IDENTITY_PREFIX):
        return "is the secret half of a key: give its public half, age1…"
    if text.startswith("ssh-"):
        return "is an SSH key: make one for backups with `mlflow-provision backup keygen`"
    if not text.startswith("age1"):
        return "is not an age recipient: those begin with age1"
    return None if _decoded(text, RECIPIENT_PREFIX) else "has a typing error in it: its check letters do not fit"


_IDENTITY_HINT = "give it as it was made: AGE-SECRET-KEY-1…"


@functools.cache  # once for a command, however often it is asked
def _derived(passphrase: str, kdf: str) -> str:
    parameters = json.loads(kdf)
    try:
        known = parameters["name"] == "scrypt"
        salt = bytes.fromhex(parameters["salt"])
        log_n, r, p = (int(parameters[name]) for name in _LARGEST)
    except (KeyError, TypeError, ValueError):
        known = False
    if not known or not all(1 <= int(parameters[name]) <= most for name, most in _LARGEST.items()):
        raise ProvisionError(
            "it is not known how the passphrase of this backup becomes its key: its manifest says nothing we know",
            "upgrade mlflow-provision; or use another backup: mlflow-provision backup list",
        )
    text = unicodedata.normalize("NFKC", passphrase).encode()  # keyboards spell é in two ways
    n = 1 << log_n
    return _pair(hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=129 * n * r * p + (1 << 20), dklen=KEY_SIZE))[0]


def _pair(secret: bytes) -> tuple[str, str]:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    public = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    return _encoded(IDENTITY_PREFIX, secret).upper(), _encoded(RECIPIENT_PREFIX, public)


def _encoded(prefix: str, data: bytes) -> str:
    """Bech32 without its limit of 90 characters, as age uses it."""
    values = _regrouped(data, 8, 5, pad=True) or []
    checksum = _polymod([*_expanded(prefix), *values, *[0] * _CHECKSUM_LENGTH]) ^ 1
    values += [(checksum >> 5 * (_CHECKSUM_LENGTH - 1 - place)) & 31 for place in range(_CHECKSUM_LENGTH)]
    return prefix + "1" + "".join(_CHARSET[value] for value in values)


def _decoded(text: str, prefix: str) -> bytes | None:
    """The key in a Bech32 text in small letters; None for anything else."""
    found, separator, rest = text.rpartition("1")
    if found != prefix or not separator or any(letter not in _CHARSET for letter in rest):
        return None
    values = [_CHARSET.index(letter) for letter in rest]
    if _polymod([*_expanded(prefix), *values]) != 1:
        return None
    data = _regrouped(values[:-_CHECKSUM_LENGTH], 5, 8, pad=False)
    return bytes(data) if data is not None and len(data) == KEY_SIZE else None


def _polymod(values: Sequence[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, factor in enumerate(_GENERATOR):
            checksum ^= factor if top >> bit & 1 else 0
    return checksum


def _expanded(prefix: str) -> list[int]:
    return [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]


def _regrouped(values: Sequence[int], bits: int, wanted: int, *, pad: bool) -> list[int] | None:
    """Groups of `bits` bits as groups of `wanted`; None where what is left over is not zero."""
    held = count = 0
    groups = []
    for value in values:
        held = held << bits | value
        count += bits
        while count >= wanted:
            count -= wanted
            groups.append(held >> count & (1 << wanted) - 1)
        held &= (1 << count) - 1
    if pad:
        return [*groups, held << wanted - count] if count else groups
    return None if count >= bits or held else groups
