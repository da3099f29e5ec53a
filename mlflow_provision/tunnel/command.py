"""The argument list of the `ssh` that forwards one local port, and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_provision.errors import ProvisionError
from mlflow_provision.ssh_target import CONFIG_VARIABLE
from mlflow_provision.tunnel.route import destination, remote_end

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment

ADDRESS = "127.0.0.1"  # no other machine may use the tunnel
ALIVE_EVERY, ALIVE_MISSES = 5, 2  # a dead link is noticed after 10-15 s
CONNECT_TIMEOUT = 10

# ~/.ssh/config decides who, where and by which key; these decide what the connection is for.
_OPTIONS = (
    "ExitOnForwardFailure=yes",
    f"ServerAliveInterval={ALIVE_EVERY}",
    f"ServerAliveCountMax={ALIVE_MISSES}",
    f"ConnectTimeout={CONNECT_TIMEOUT}",
    "ControlMaster=no",  # a shared connection has a life of its own, and may not be ours
    "ControlPath=none",
    "ControlPersist=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "ForwardAgent=no",
    "ForwardX11=no",
    "LogLevel=DEBUG1",  # says when the port is open, and why a channel is refused
)


def find_ssh() -> str:
    """The path of OpenSSH's client; an error that says what to install where there is none."""
    found = shutil.which("ssh")
    if not found:
        raise ProvisionError("there is no ssh program on this machine, and the tunnel is one of ssh", _how_to_install())
    return found


def command(deployment: Deployment, port: int, asks: bool) -> list[str]:
    """`asks`: a person at a terminal can answer ssh's questions about host key and passphrase."""
    config, identity = os.environ.get(CONFIG_VARIABLE), deployment.identity_file
    options = [*_OPTIONS, "BatchMode=no" if asks else "BatchMode=yes"]
    return [
        find_ssh(),
        *(["-F", config] if config else []),
        "-N",
        "-T",
        *(word for option in options for word in ("-o", option)),
        *(["-i", str(Path(identity).expanduser())] if identity else []),
        "-L",
        f"{ADDRESS}:{port}:{remote_end(deployment)}",
        *destination(deployment.host),
    ]


def _how_to_install() -> str:
    """The command of the package manager that is there."""
    for manager, typed in (
        ("apt-get", "sudo apt-get install -y openssh-client"),
        ("dnf", "sudo dnf install -y openssh-clients"),
        ("yum", "sudo yum install -y openssh-clients"),
        ("apk", "sudo apk add openssh-client"),
        ("pacman", "sudo pacman -S openssh"),
        ("zypper", "sudo zypper install openssh-clients"),
    ):
        if shutil.which(manager):
            return f"install OpenSSH's client: {typed}"
    return "install OpenSSH's client"
