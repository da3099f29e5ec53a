"""The files OpenSSH needs to reach a host."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SshConfig:
    """One `Host` entry, and the known_hosts file it points to (empty if `host_keys` is)."""

    alias: str
    address: str
    port: int
    user: str
    key: Path
    host_keys: Sequence[str]

    def write(self, folder: Path) -> Path:
        """Write `ssh_config` and `known_hosts` into `folder`; returns the path of the former."""
        known_hosts = folder / "known_hosts"
        known_hosts.write_text("".join(f"{self._pattern} {key}\n" for key in self.host_keys))
        config = folder / "ssh_config"
        config.write_text(
            f"Host {self.alias}\n"
            f"    HostName {self.address}\n"
            f"    Port {self.port}\n"
            f"    User {self.user}\n"
            f"    IdentityFile {self.key}\n"
            f"    IdentitiesOnly yes\n"
            f"    UserKnownHostsFile {known_hosts}\n"
            f"    GlobalKnownHostsFile /dev/null\n"
        )
        return config

    @property
    def _pattern(self) -> str:
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"


def public_keys(root: Path) -> list[str]:
    """The host keys of the machine whose files are in `root`, as known_hosts wants them."""
    files = sorted(root.glob("etc/ssh/ssh_host_*_key.pub"))
    return [" ".join(file.read_text().split()[:2]) for file in files]


def ssh_command(config: Path, alias: str, user: str, argv: Sequence[str]) -> list[str]:
    """OpenSSH that never asks, running `argv` as given."""
    return ["ssh", "-F", str(config), "-o", "BatchMode=yes", "-l", user, alias, "--", shlex.join(argv)]
