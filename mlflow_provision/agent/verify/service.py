"""Is the port bound where it should be and nowhere else, and does the server come back?"""

from __future__ import annotations

import ipaddress
import os
import signal
import time
from pathlib import Path
from typing import Callable

from mlflow_provision.agent import command, processes, running, sockets
from mlflow_provision.agent.cgroup import unit_of
from mlflow_provision.agent.verify.checks import Failed, Skipped
from mlflow_provision.agent.verify.log import ServerLog
from mlflow_provision.agent.verify.target import Target

_RESTART_TIMEOUT = 90.0
_NOT_KEPT_RUNNING = "nothing starts this server again after a crash or a reboot; `mlflow-provision start` does"


def port(target: Target) -> str:
    """Bound at exactly the address it should be, and the server listens on nothing else."""
    if not Path("/proc/net/tcp").exists():
        raise Skipped("this system does not say who listens (no /proc/net/tcp)")
    everybody = sockets.listeners()
    wanted = {
        _plain(address) for address in (("127.0.0.1", "::1") if target.listen == "localhost" else (target.listen,))
    }
    here = [listener for listener in everybody if listener.port == target.port]
    right = [listener for listener in here if _plain(listener.address) in wanted]
    if not here:
        raise Failed(f"nothing listens on port {target.port}")
    if not right:
        found = ", ".join(listener.address for listener in here)
        raise Failed(f"expected port {target.port} bound at {target.listen}, found it bound at {found}")
    elsewhere = [listener.address for listener in here if listener not in right]
    if elsewhere:
        raise Failed("port {} is also bound at {}".format(target.port, ", ".join(elsewhere)))
    pids = _pids(target)
    ours = processes.sockets(pids or [])
    if pids is not None and (ours or not pids) and not any(listener.inode in ours for listener in right):
        holder = sockets.owner(right[0].inode)
        if not target.unit or unit_of(holder) != target.unit:  # else it is a worker that has just begun
            raise Failed(f"port {target.port} is held by {processes.name(holder)}, not by the server")
    more = [
        f"{listener.address}:{listener.port}"
        for listener in everybody
        if listener.inode in ours and listener not in right
    ]
    if more:
        raise Failed("the server also listens on {}".format(", ".join(more)))
    return ", ".join(f"{listener.address}:{listener.port}" for listener in right)


def enabled(target: Target) -> str:
    """Does it start at boot?"""
    if not target.unit:
        raise Skipped(_NOT_KEPT_RUNNING)
    state = _show(target.unit)["UnitFileState"]
    if state != "enabled":
        raise Failed(f"{target.unit} is {state or 'unknown to systemd'}: sudo systemctl enable {target.unit}")
    return target.unit


def kill(target: Target, stopping: Callable[[], bool]) -> str:
    """Kill the main process without a warning; systemd must bring the server back."""
    if not target.unit:
        raise Skipped(_NOT_KEPT_RUNNING)
    state = _show(target.unit)
    before, restarts = state["MainPID"], state["NRestarts"]
    if before in ("", "0"):
        raise Failed(f"{target.unit} has no main process")
    log = ServerLog(target)
    os.kill(int(before), signal.SIGKILL)
    started = time.monotonic()
    while True:
        state = _show(target.unit)
        seconds = time.monotonic() - started
        problem = running.health(target.url)
        if state["MainPID"] not in ("", "0", before) and not problem:
            if restarts == "0":  # ours is not to be counted among the crashes
                command.capture(["systemctl", "reset-failed", target.unit])
            return f"healthy again after {seconds:.1f} s"
        if state["ActiveState"] in ("failed", "inactive"):
            raise Failed(f"{target.unit} was not restarted (Restart=always?){log.last_words()}")
        if seconds > _RESTART_TIMEOUT:
            raise Failed(f"not healthy {seconds:.0f} s after the kill: {problem}{log.last_words()}")
        if stopping():
            raise Skipped("stopped while the server was starting again")
        time.sleep(0.1)


def _show(unit: str) -> dict[str, str]:
    names = ("UnitFileState", "MainPID", "ActiveState", "NRestarts")
    text = command.capture(["systemctl", "show", unit, "--property=" + ",".join(names)])
    state = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name: state.get(name, "") for name in names}


def _pids(target: Target) -> list[int] | None:
    """The processes of the server; None when we may not know."""
    if target.service is None:
        return None
    from mlflow_provision.agent.resources import from_json

    pids: list[int] = getattr(from_json(target.service), "pids", list)()
    return pids


def _plain(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)
