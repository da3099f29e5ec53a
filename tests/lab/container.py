"""systemd-nspawn: boot a folder as a machine, and run programs inside it."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab.claims import Place
from tests.lab.network import NAMESPACES
from tests.lab.program import Finished, LabError, run

# What systemd-nspawn exits with when the machine inside asked for a reboot. It loops by itself only
# when it may ask this machine's systemd for a unit, and there may be none.
REBOOT = 133
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def boot(place: Place, binds: dict[Path, str]) -> subprocess.Popen[bytes]:
    """Start it, in its control group from its first process on. Reboots happen inside the process returned."""
    nspawn = [
        "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--resolv-conf=off",
        "--timezone=off", "--link-journal=no", f"--directory={place.root}", f"--machine={place.name}",
        f"--network-namespace-path={NAMESPACES / place.network.namespace}",
        *(f"--bind={outside}:{inside}" for outside, inside in binds.items()),
    ]  # fmt: skip
    enter = [f"echo $$ > {shlex.quote(str(folder / 'cgroup.procs'))}" for folder in place.group.folders]
    script = "; ".join([*enter, f"while {shlex.join(nspawn)}; [ $? -eq {REBOOT} ]; do :; done"])
    place.group.create()
    with (place.folder / "console.log").open("ab") as output:
        return subprocess.Popen(
            ["/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the tests, which then remove the host
            env={**os.environ, "SYSTEMD_NSPAWN_TMPFS_TMP": "0"},  # /tmp on disk, as Debian has it
        )


def run_inside(
    leader: int | None,
    argv: Sequence[str],
    *,
    check: bool = True,
    input: str | None = None,
    user: str = "root",
    timeout: float | None = None,
) -> Finished:
    """Run in the machine whose PID 1 is `leader`, as `user`, without SSH and with a login's environment."""
    if leader is None:
        raise LabError("the host is not running")
    nsenter = shutil.which("nsenter") or "nsenter"  # PATH below is the host's, not ours
    namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
    become = [] if user == "root" else ["runuser", "-u", user, "--"]
    home = "/root" if user == "root" else f"/home/{user}"
    environment = {"PATH": PATH, "HOME": home, "USER": user, "LOGNAME": user, "LANG": "C.UTF-8"}
    return run(
        [nsenter, f"--target={leader}", *namespaces, "--", *become, *argv],
        check=check,
        input=input,
        env=environment,
        timeout=timeout,
    )


def is_up(leader: int | None, address: str, port: int) -> bool:
    """Has systemd finished starting, and does sshd answer?"""
    if leader is None:
        return False
    state = run_inside(leader, ["systemctl", "is-system-running", "--wait"], check=False).stdout.strip()
    if state not in ("running", "degraded"):
        return False
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
