"""A real OpenSSH server on a loopback port, without privileges, with keys and configuration of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.unit.fake_sudo import FakeSudo

SSHD = next((path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd", shutil.which("sshd") or "") if path), "")


def why_unavailable() -> str:
    """The reason for which these tests are skipped; empty: they can run."""
    missing = [program for program in ("ssh", "ssh-keygen", "ssh-agent", "ssh-add") if not shutil.which(program)]
    if not os.access(SSHD, os.X_OK):
        missing.append("sshd")
    return f"not installed: {', '.join(missing)}" if missing else ""


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "", form: str = "RFC4716") -> Path:
    bits = ["-b", "2048"] if kind == "rsa" else []
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, *bits, "-m", form, "-N", passphrase, "-C", path.name, "-f", path], check=True
    )
    return path


class Sshd:
    """Use as a `with` block. `authorize()` a key to let it in."""

    def __init__(self, folder: Path, host_keys: tuple[str, ...] = ("ed25519",), options: str = "") -> None:
        self.folder = folder
        folder.mkdir()
        for kind in host_keys:
            make_key(folder / f"host_{kind}", kind)
        self.log = folder / "log"
        self.port = _free_port()
        # What runs there finds this Python, and a sudo where we are not root.
        programs = folder / "bin"
        programs.mkdir()
        (programs / "python3").symlink_to(os.path.realpath(sys.executable))
        FakeSudo(programs).install()
        (folder / "authorized_keys").touch()
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            *(f"HostKey {folder / f'host_{kind}'}" for kind in host_keys),
            f"AuthorizedKeysFile {folder / 'authorized_keys'}",
            f"PidFile {folder / 'pid'}",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            f"SetEnv PATH={programs}:/usr/bin:/bin BASH_ENV= ENV=",
            options,
        ]
        (folder / "sshd_config").write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Sshd:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists when it is root
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(command, stderr=log)
        deadline = time.monotonic() + 10
        while not _answers(self.port):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"sshd does not start:\n{self.log.read_text()}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def authorize(self, key: Path) -> None:
        with (self.folder / "authorized_keys").open("a") as keys:
            keys.write(Path(f"{key}.pub").read_text())

    def host_key(self, kind: str = "ed25519") -> str:
        """As known_hosts wants it."""
        return " ".join((self.folder / f"host_{kind}.pub").read_text().split()[:2])

    @property
    def known(self) -> str:
        """A line of known_hosts."""
        return f"[127.0.0.1]:{self.port} {self.host_key()}\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
