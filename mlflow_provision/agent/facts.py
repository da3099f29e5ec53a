"""Everything about the host that decides what to do, asked once."""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

from mlflow_provision.agent import adoption, process_group, sockets
from mlflow_provision.agent.cgroup import unit_of
from mlflow_provision.agent.names import BESIDE, GUARD, MARKER, SIGNATURE, UPGRADING
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.record import load
from mlflow_provision.agent.resources.release import STAMP


def facts(data: dict[str, Any]) -> dict[str, Any]:
    """Facts about this host and about what is already there of the deployment in `data` (see docs/commands.md)."""
    home = os.path.expanduser("~")
    root = Path(data["root"].replace("~", home, 1) if data["root"].startswith("~") else data["root"])
    base = root / data["name"]
    listening = sockets.listeners()
    release = root / "releases" / data["release"]
    unit_state = _unit_state(data["unit"])
    return {
        "os": _os_release(),
        "arch": platform.machine(),
        "libc": platform.libc_ver()[1],
        "python": {"path": sys.executable, "version": platform.python_version()},
        "user": _user(),
        "uid": os.geteuid(),
        "home": home,
        "hostname": socket.gethostname(),
        "addresses": addresses(),
        "cpus": os.cpu_count() or 1,
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "disk_free": _disk_free(root),
        "time": time.time(),
        "systemd": Path("/run/systemd/system").is_dir(),  # does it run the machine?
        "root": {"path": str(root), "state": _root_state(root)},
        "unit": unit_state,
        "port_owner": _port_owner(data["port"], listening, data["unit"], base),
        "free_port": sockets.free_port(data["port"], {listener.port for listener in listening}),
        "applied": load(str(base / "deployment.json")),
        "deployments": _deployments(root),
        "admin_exists": (base / "data" / "basic_auth.db").exists(),
        "restoring": (base / "backup" / GUARD).exists(),
        "upgrading": (base / "backup" / UPGRADING).exists(),
        "release_installed": (release / STAMP).exists(),
        **(adoption.known(str(base), unit_state == "ours") if data["unit"] else {"old_server": None, "adoption": ""}),
        "index": None if (release / STAMP).exists() else _index(data["index_url"]),
    }


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may run as a user id without a name
        return str(os.geteuid())


def _os_release() -> dict[str, str]:
    values = {}
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            continue
        values = {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines)}
        break
    return {
        "id": values.get("ID", ""),
        "version": values.get("VERSION_ID", ""),
        "name": values.get("PRETTY_NAME", "unknown"),
    }


def addresses() -> list[str]:
    """The addresses of this host that others could use; found without sending anything."""
    found = set()
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                found.add(str(probe.getsockname()[0]))
        except OSError:
            continue
    return sorted(found)


def _disk_free(root: Path) -> int:
    while not root.exists():
        root = root.parent
    return shutil.disk_usage(root).free


def _root_state(root: Path) -> str:
    if not root.exists():
        return "absent"
    if not root.is_dir():
        return "foreign"
    if (root / MARKER).exists():
        return "ours"
    # A run killed before it wrote the marker leaves these.
    ours = (".lock", f".{MARKER}{BESIDE}")
    return "foreign" if any(entry.name not in ours for entry in root.iterdir()) else "empty"


def _deployments(root: Path) -> list[dict[str, Any]]:
    """What the records of all deployments below this root tell to a person."""
    records = (load(str(path)) for path in sorted(root.glob("*/deployment.json")))
    shown = ("name", "mlflow_version", "port")
    return [{key: record.get(key, "") for key in shown} for record in records if record and record.get("name")]


def _unit_state(unit: str) -> str:
    if not unit:
        return "absent"
    for folder in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"):
        path = Path(folder) / unit
        if path.exists():
            return "ours" if SIGNATURE in path.read_text(errors="replace") else "foreign"
    return "absent"


def _port_owner(port: int, listening: list[sockets.Listener], unit: str, base: Path) -> dict[str, Any] | None:
    taken = [listener for listener in listening if listener.port == port]
    if not taken:
        return None
    pid = sockets.owner(taken[0].inode)
    if not pid:
        return {"pid": 0, "name": "another user's program", "unit": "", "ours": False}
    try:
        owner_unit = unit_of(pid)
        ours = owner_unit == unit if unit else os.getpgid(pid) == process_group.group(str(base / "server.pid"))
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # it ended while we looked
        return {"pid": pid, "name": "a program that just ended", "unit": "", "ours": False}
    return {"pid": pid, "name": name, "unit": owner_unit, "ours": ours}


def _index(index_url: str) -> dict[str, Any]:
    # Imported late: once a release is installed nobody asks the index, and urllib takes long to import.
    from mlflow_provision.agent import index

    try:
        # mlflow pins the other two; a release is on the index for a while before they are.
        versions, half_published = index.published(index_url, ("mlflow", "mlflow-skinny", "mlflow-tracing"))
    except AgentError as error:
        return {"error": error.message, "hint": error.hint, "versions": [], "half_published": []}
    return {"error": "", "hint": "", "versions": versions, "half_published": half_published}
