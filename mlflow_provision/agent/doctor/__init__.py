"""The verb `doctor`: every check of a deployment that its host can make by itself. Nothing is changed by looking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

from mlflow_provision.agent.protocol import Event


@dataclass(frozen=True)
class Check:
    """`where` is the module below `checks`, and its function; those it `needs` must not have found anything bad;
    `seconds` is how long it may take."""

    where: str
    needs: tuple[str, ...] = ()
    seconds: float = 15.0


_UP = ("health",)
_OPENED = ("database-readable",)

# In the order in which they are made: what others build on comes first.
CHECKS: dict[str, Check] = {
    "service-installed": Check("service.installed"),
    "service-running": Check("service.running", ("service-installed",)),
    "service-looping": Check("service.looping", ("service-running",)),
    "memory-killed": Check("memory.killed", ("service-installed",), 45.0),
    "port-taken": Check("ports.taken"),
    "port-open": Check("ports.opened", ("service-running",)),
    "health": Check("access.health", ("service-running", "service-looping"), 60.0),
    "host-check": Check("access.host_check", _UP, 30.0),
    "origin-check": Check("access.origin_check", _UP, 30.0),
    "login": Check("access.login", _UP, 30.0),
    "database-readable": Check("databases.readable", (), 30.0),
    "database-locked": Check("databases.locked", _OPENED, 30.0),
    "database-schema": Check("databases.schema", _OPENED),
    "default-password": Check("passwords.default", _OPENED, 30.0),
    "clock": Check("clock.clock", (), 30.0),
    "credentials-partial": Check("credentials.partial"),
    "profile-mismatch": Check("credentials.profile"),
    "store": Check("store.store", (), 90.0),
    "proxy-mode": Check("artifacts.proxy_mode", (), 30.0),
    "artifact-roundtrip": Check("artifacts.roundtrip", ("health", "login", "store"), 120.0),
    "old-artifact-uris": Check("artifacts.old_uris", _OPENED, 30.0),
    "disk": Check("disk.space"),
    "inodes": Check("disk.inodes"),
    "secrets-readable": Check("secrets.readable"),
    "files-owner": Check("owners.owners"),
    "venv-broken": Check("release.broken", (), 60.0),
    "server-errors": Check("server_errors.server_errors", (), 45.0),
    "mlflow-old": Check("release.old"),
    "backup-age": Check("backups.age"),
    "backup-verified": Check("backups.verified"),
    "backup-failed": Check("backups.failed"),
    "backup-timer": Check("backups.timer"),
    "backup-store": Check("store.backup_store", (), 90.0),
    "restore-unfinished": Check("unfinished.restore"),
    "upgrade-unfinished": Check("unfinished.upgrade"),
    "move-unfinished": Check("unfinished.move"),
    "rotation-unfinished": Check("unfinished.rotation"),
    "certificate": Check("certificate.certificate", (), 30.0),
    "tmp-litter": Check("litter.litter", (), 30.0),
}
# What can be put right on the host where no resource of a setup does it.
MENDABLE = ("files-owner", "secrets-readable", "tmp-litter")


def serve(
    data: dict[str, Any], operator: str, emit: Callable[[Event], None], stopping: Callable[[], bool]
) -> dict[str, Any]:
    """`action`: "look" (the default): {"findings": […]}, of all checks or of those in "only"; "mend": put right what
    the checks in "mend" find, {"mended": {check: what was done}}. Runs as root, or as the person in user scope."""
    # Imported late: the agent is compiled anew on every request.
    if data.get("action") == "mend":
        from mlflow_provision.agent.doctor.mending import mend

        return {"mended": mend(data, emit, stopping)}
    from mlflow_provision.agent.doctor.examination import examine

    return {"findings": examine(data, emit, stopping)}
