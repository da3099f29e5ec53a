"""Who has the server's port, and who can reach it?"""

from __future__ import annotations

import ipaddress

from mlflow_provision.agent import processes, sockets
from mlflow_provision.agent.cgroup import unit_of
from mlflow_provision.agent.doctor.finding import Finding, Skip, bad, ok, unknown, warn
from mlflow_provision.agent.doctor.patient import Patient


def taken(patient: Patient) -> Finding:
    """Nobody else listens on the server's port."""
    port = patient.server.port
    here = sockets.listening_on(port)
    ours = processes.sockets(patient.pids)
    others = [listener for listener in here if listener.inode not in ours]
    if not others:
        return ok(f"port {port} is the server's" if here else f"nobody listens on port {port}")
    pid = sockets.owner(others[0].inode)
    if not pid:
        return unknown(f"somebody listens on port {port}, but which program it is may only root know")
    unit = unit_of(pid)
    if patient.unit and unit == patient.unit:  # a worker that has just begun
        return ok(f"port {port} is the server's")
    what = processes.name(pid) + (f", {unit}" if unit else "")
    return bad(f"port {port} is held by {what}", pid=pid, name=processes.name(pid), unit=unit)


def opened(patient: Patient) -> Finding:
    """The server listens where it should, and nowhere else."""
    target = patient.server
    ours = processes.sockets(patient.pids)
    mine = [listener for listener in sockets.listeners() if listener.inode in ours]
    if not mine:
        raise Skip("the server does not listen (yet)")
    world = sorted({one.address for one in mine if not _is_loopback(one.address)})
    ports = sorted({f"{one.address}:{one.port}" for one in mine})
    numbers = {"addresses": world, "port": target.port, "listen": target.listen, "world": bool(world)}
    wanted = _plain(target.listen)
    strange = [
        f"{one.address}:{one.port}"
        for one in mine
        if one.port != target.port or (_plain(one.address) != wanted and not _is_loopback(one.address))
    ]
    if strange:
        return bad(
            f"the server listens on {', '.join(strange)}; the deployment file says {target.listen}:{target.port}",
            fix="apply",
            **numbers,
        )
    if world:
        return warn(
            f"the server listens on {', '.join(ports)}: other machines can reach it, without encryption", **numbers
        )
    return ok(f"{', '.join(ports)}: only this host can reach it", **numbers)


def _plain(address: str) -> str:
    parsed = ipaddress.ip_address(address.strip("[]"))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(_plain(address)).is_loopback
