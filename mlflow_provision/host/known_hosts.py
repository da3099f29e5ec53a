"""The known_hosts files of OpenSSH: what is known of a host, and remembering one more key."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KnownKey:
    kind: str  # "ssh-ed25519"
    blob: bytes
    file: Path
    line: int
    revoked: bool = False


def known_keys(name: str, files: tuple[Path, ...]) -> list[KnownKey]:
    """Every key the files have for `name`. Certificate authorities are left out: paramiko cannot check them."""
    return [key for file in files for key in _keys_in(file, name.lower())]


def _keys_in(file: Path, name: str) -> list[KnownKey]:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", "@revoked") or not _matches(name, words[0]):
            continue
        try:
            blob = base64.b64decode(words[2], validate=True)
        except binascii.Error:
            continue
        found.append(KnownKey(words[1], blob, file, number, marker == "@revoked"))
    return found


def _matches(name: str, patterns: str) -> bool:
    matched = False
    for pattern in patterns.split(","):
        if pattern.startswith("|1|"):
            matched = matched or _is_hash_of(name, pattern)
        elif pattern.startswith("!"):
            if _matches_pattern(name, pattern[1:]):
                return False
        else:
            matched = matched or _matches_pattern(name, pattern)
    return matched


def _matches_pattern(name: str, pattern: str) -> bool:
    # Only * and ? are special; brackets belong to [host]:port.
    return fnmatch.fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _is_hash_of(name: str, hashed: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in hashed.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def remember(name: str, kind: str, blob: bytes, file: Path, hashed: bool = False) -> None:
    """Append a key, as `ssh` does after "yes"."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = f"{_hash(name) if hashed else name.lower()} {kind} {base64.b64encode(blob).decode()}\n"
    if file.exists() and file.read_bytes()[-1:] not in (b"", b"\n"):
        line = "\n" + line
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _hash(name: str) -> str:
    salt = os.urandom(20)
    digest = hmac.new(salt, name.lower().encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def fingerprint(blob: bytes) -> str:
    """SHA256:… as ssh shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
