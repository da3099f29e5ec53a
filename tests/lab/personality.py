"""What makes one host differ from every other made from the same image."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.lab.program import run

# systemd-resolved's stub answers on this machine's loopback only, so the host gets the servers behind it
RESOLV_CONF = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))


def personalise(root: Path, name: str, address: str) -> None:
    """Name, machine id, name servers and SSH host keys, written into the files of a host not yet booted."""
    etc = root / "etc"
    (etc / "hostname").write_text(f"{name}\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{address} {name}\n")
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
    resolv_conf = next(file for file in RESOLV_CONF if file.exists())
    (etc / "resolv.conf").write_text(resolv_conf.read_text())
    for kind in ("ed25519", "ecdsa"):  # RSA takes a second to make
        key = etc / "ssh" / f"ssh_host_{kind}_key"
        key.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(key)])
