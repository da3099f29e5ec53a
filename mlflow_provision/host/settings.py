"""What ~/.ssh/config makes of a target. OpenSSH itself is asked, so that Include, Match and aliases mean the same."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.ssh_target import CONFIG_VARIABLE, parsed

CONNECT_TIMEOUT = 10.0

# A ProxyCommand of ~/.ssh/config hands user and host to a shell. OpenSSH refuses the same.
_DANGEROUS = re.compile(r"[\s\x00-\x1f'\"`$\\;&<>|(){}]|^-|@-|^$")
_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")  # where `ssh` is not installed to tell


@dataclass(frozen=True)
class Settings:
    """How to reach one host."""

    target: str  # as it was typed
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...] = ()
    identities_only: bool = False
    identity_agent: str = ""  # a socket, "none", or "" for the agent in the environment
    known_hosts: tuple[Path, ...] = ()  # the first is the one that is written
    system_known_hosts: tuple[Path, ...] = ()
    host_key_alias: str = ""
    hash_known_hosts: bool = False
    refuse_unknown: bool = False  # StrictHostKeyChecking yes
    proxy_jump: tuple[str, ...] = ()
    proxy_command: str = ""
    address_family: str = "any"
    connect_timeout: float = CONNECT_TIMEOUT
    identity_given: bool = False  # is there a key that was asked for, not only the usual ones?

    @property
    def address(self) -> str:
        """For messages."""
        return f"{self.hostname} port {self.port}"

    @property
    def name_in_known_hosts(self) -> str:
        if self.host_key_alias:
            return self.host_key_alias
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"


def read_settings(target: str, identity_file: str = "") -> Settings:
    """Raises ProvisionError for a target or a configuration that ssh would not take either."""
    said = parsed(target)
    if not said or _DANGEROUS.search(target):
        raise ProvisionError(
            f"{target!r} is not a host",
            "give it as `ssh` takes it: user@host, or a name of ~/.ssh/config",
            ExitCode.USAGE,
        )
    if identity_file and not Path(identity_file).expanduser().is_file():
        raise ProvisionError(f"there is no SSH key {identity_file}", "give the path of a private key", ExitCode.USAGE)
    options = {"-l": said.user, "-p": said.port, "-i": identity_file, "-F": os.environ.get(CONFIG_VARIABLE)}
    try:
        found = _ask_openssh(said.host, {flag: value for flag, value in options.items() if value})
    except FileNotFoundError:
        found = _ask_paramiko(said.host, options)
    return _settings(target, found, identity_file)


def _ask_openssh(host: str, options: dict[str, str]) -> dict[str, list[str]]:
    flags = [word for pair in options.items() for word in pair]
    asked = subprocess.run(["ssh", "-G", *flags, "--", host], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if asked.returncode:
        raise ProvisionError(
            f"ssh cannot make sense of its configuration: {asked.stderr.strip()}", f"ssh -G {host}", ExitCode.USAGE
        )
    found: dict[str, list[str]] = {}
    for line in asked.stdout.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name.lower(), []).append(value)
    return found


def _ask_paramiko(host: str, options: dict[str, str | None]) -> dict[str, list[str]]:
    """For machines without OpenSSH's client: no Include, fewer kinds of Match."""
    from paramiko import SSHConfig

    file = Path(options["-F"] or "~/.ssh/config").expanduser()
    config = SSHConfig.from_path(str(file)) if file.is_file() else SSHConfig()
    found: dict[str, list[str]] = {
        "user": [getpass.getuser()],
        "identityfile": [f"~/.ssh/{key}" for key in _KEYS],
        "userknownhostsfile": ["~/.ssh/known_hosts ~/.ssh/known_hosts2"],
        "globalknownhostsfile": ["/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"],
    }
    for name, value in config.lookup(host).items():
        found[name] = value if isinstance(value, list) else [str(value)]
    given = {"user": options["-l"], "port": options["-p"], "identityfile": options["-i"]}
    return found | {name: [value] for name, value in given.items() if value}


def _settings(target: str, found: dict[str, list[str]], identity_file: str) -> Settings:
    def one(name: str, default: str = "") -> str:
        value = found.get(name, [default])[0]
        return default if value.lower() == "none" else value

    hostname, user, port = one("hostname"), one("user"), one("port", "22")
    tokens = {"%": "%", "h": hostname, "n": target.rpartition("@")[2], "p": port, "r": user, "u": getpass.getuser()}
    tokens["d"] = str(Path.home())

    def expand(text: str) -> str:
        return re.sub("%([%hnprud])", lambda token: tokens[token[1]], text)

    def paths(words: list[str]) -> tuple[Path, ...]:
        return tuple(Path(expand(word)).expanduser() for word in words if word.lower() not in ("none", "/dev/null"))

    identity_files = paths(found.get("identityfile", []))
    return Settings(
        target=target,
        hostname=hostname,
        port=int(port),
        user=user,
        identity_files=identity_files,
        identities_only=one("identitiesonly") == "yes",
        identity_agent=_agent_socket(expand(found.get("identityagent", [""])[0])),
        known_hosts=paths(shlex.split(one("userknownhostsfile"))),
        system_known_hosts=paths(shlex.split(one("globalknownhostsfile"))),
        host_key_alias=one("hostkeyalias"),
        hash_known_hosts=one("hashknownhosts") == "yes",
        refuse_unknown=one("stricthostkeychecking") in ("yes", "true"),
        proxy_jump=tuple(hop.strip() for hop in one("proxyjump").split(",") if hop.strip()),
        proxy_command=expand(one("proxycommand")),
        address_family=one("addressfamily", "any"),
        connect_timeout=float(one("connecttimeout", str(CONNECT_TIMEOUT))),
        identity_given=bool(identity_file) or any(not path.name.startswith("id_") for path in identity_files),
    )


def _agent_socket(value: str) -> str:
    if value == "SSH_AUTH_SOCK" or not value:
        return ""
    return value if value == "none" else os.path.expanduser(os.path.expandvars(value))  # noqa: PTH111
