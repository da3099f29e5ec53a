"""Can the lab run here? If not, why, in a sentence."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping

from tests.lab.places import lab_dir
from tests.lab.program import run

# program -> the Debian package that brings it
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
# What the tests of `env` and of completion speak to; without one of these its tests are skipped.
SHELLS = {"fish": "fish", "ksh": "ksh", "zsh": "zsh"}


def missing_programs() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


def why_unavailable() -> str | None:
    """A sentence that says why real hosts cannot be made on this machine, or None if they can."""
    if platform.system() != "Linux":
        return f"The lab makes Linux hosts with systemd-nspawn, and this machine runs {platform.system()}."
    if os.geteuid() != 0:
        return "The lab needs root for mounts and network namespaces; run the tests with sudo."
    if missing := missing_programs():
        return f"The lab needs {', '.join(missing)}; `python -m tests.lab up` installs what is missing."
    lab_dir().mkdir(parents=True, exist_ok=True)
    kind = run(["stat", "-f", "-c", "%T", str(lab_dir())]).stdout.strip()
    if kind == "overlayfs":
        return f"{lab_dir()} is on an overlay, which cannot carry another: set MLFLOW_LAB_DIR to a folder on a disk."
    return None


def install_missing_programs(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Install with apt what the lab needs, or other `programs` (name → package), and this machine lacks."""
    packages = sorted({package for program, package in programs.items() if shutil.which(program) is None})
    if packages:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update"], env=environment)
        run(["apt-get", "install", "-y", "--no-install-recommends", *packages], env=environment)
