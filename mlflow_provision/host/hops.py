"""Where on the way to a host something broke."""

from __future__ import annotations

from mlflow_provision.errors import ExitCode, ProvisionError

# In the order in which they are passed.
NAME = "name"
NETWORK = "network"
SSHD = "sshd"
HOST_KEY = "host-key"
LOGIN = "ssh-login"
SUDO = "sudo"
PYTHON = "python"
HOPS = (NAME, NETWORK, SSHD, HOST_KEY, LOGIN, SUDO, PYTHON)


class Broken(ProvisionError):
    """The way to a host ends at `hop`: what is before it works, what comes after it was not tried."""

    def __init__(self, hop: str, message: str, hint: str = "", code: ExitCode = ExitCode.UNREACHABLE) -> None:
        super().__init__(message, hint, code)
        self.hop = hop
