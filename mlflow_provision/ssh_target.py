"""A host as people type it, and as OpenSSH takes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

CONFIG_VARIABLE = "MLFLOW_PROVISION_SSH_CONFIG"  # a file to use in place of ~/.ssh/config

# user@name, user@name:port, user@[v6]:port, a bare IPv6 address, and the same as ssh://…
_TARGET = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^@]+)@)?"
    r"(?P<host>\[[^\]]+\]|[^:\[\]/]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*:[\w:.%]*)(?::(?P<port>\d+))?/?"
)


@dataclass(frozen=True)
class Target:
    """What was said of a host; "" for what is left to ~/.ssh/config."""

    user: str
    host: str  # a name, an alias or an address, without brackets
    port: str


def parsed(target: str) -> Target | None:
    """None for what ssh would not take either."""
    match = _TARGET.fullmatch(target)
    return Target(match["user"] or "", match["host"].strip("[]"), match["port"] or "") if match else None


def target_of(target: str) -> Target:
    """The same of a host that was reached before; what ssh would not take is a name as it stands."""
    return parsed(target) or Target("", target, "")


def bracketed(host: str) -> str:
    """A host as URLs and `ssh -L` want it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
