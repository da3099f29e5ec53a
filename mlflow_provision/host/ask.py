"""What only a person can answer while we connect. The command line supplies the questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ask:
    """Callbacks; each is None where there is no terminal, and then the failure says what to do without one."""

    # (host, kind of key, "SHA256:…") -> is it the right one?
    confirm_host_key: Callable[[str, str, str], bool] | None = None
    # (prompt) -> the password, or None to give up
    sudo_password: Callable[[str], str | None] | None = None
    # (path of the key) -> its passphrase, or None to give up
    key_passphrase: Callable[[str], str | None] | None = None


NOBODY = Ask()
