"""All that is known of a deployment at one moment, as the document of `status` has it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlflow_provision.blueprint.watching import differences
from mlflow_provision.config import Deployment
from mlflow_provision.errors import ProvisionError
from mlflow_provision.status.looking import Seen
from mlflow_provision.status.warnings import warnings
from mlflow_provision.tunnel import direct_url, needs_tunnel, running_on

Summary = dict[str, Any]

_OF_THE_SERVICE = ("running", "healthy", "enabled", "pid", "seconds", "memory", "restarts", "problem")
_OF_THE_DATA = ("database_size", "runs", "runs_active", "runs_deleted", "experiments")
_OF_THE_SETUP = ("applied_at", "operator", "tool_version")


def summary(seen: Seen) -> Summary:
    """The document of one deployment. Times are seconds since 1970, sizes bytes, and what is not known is null."""
    deployment, health = seen.deployment, seen.health
    applied = health.get("applied") or {}
    unknown = dict(health.get("unknown") or {})
    found: Summary = {
        "name": deployment.name,
        "host": deployment.host,
        "scope": deployment.scope,
        "reachable": seen.error is None,
        "error": _error(seen.error),
        **_nothing_runs(),
        **{key: health[key] for key in _OF_THE_SERVICE if key in health},
        "mlflow_version": applied.get("mlflow_version"),
        "newest_version": health.get("newest") or None,
        "port": applied.get("port") or deployment.mlflow.port,
        **_reached(_as_applied(deployment, applied)),
        "host_memory": seen.machine.get("memory"),
        "host_memory_free": seen.machine.get("memory_free"),
        "clock_skew": round(seen.skew, 1),
        "disks": health.get("disks") or [],
        **{key: health.get(key) for key in _OF_THE_DATA},
        "backup": health.get("backup"),
        "certificate": _learnt(unknown, "certificate", lambda: _certificate(health.get("certificate")), None),
        "unfinished": health.get("unfinished") or [],
        "pending": _learnt(unknown, "pending changes", lambda: _pending(seen, applied), []),
        "changed_on_host": _learnt(unknown, "changes on the host", lambda: _changed(health, applied), []),
        **{key: applied.get(key) for key in _OF_THE_SETUP},
        "unknown": unknown,
    }
    found["warnings"] = warnings(found, deployment, seen.at + seen.skew)
    return found


def _learnt(unknown: dict[str, str], what: str, look: Callable[[], Any], otherwise: Any) -> Any:
    """A record that somebody edited, or a certificate that is none, must not take the rest of the screen away."""
    try:
        return look()
    except ProvisionError as error:
        unknown[what] = error.message.splitlines()[0]
    except Exception as error:
        unknown[what] = type(error).__name__
    return otherwise


def _nothing_runs() -> Summary:
    stopped = {"running": False, "healthy": False, "enabled": False, "pid": 0, "seconds": 0.0}
    return {**stopped, "memory": 0, "restarts": 0, "problem": ""}


def _error(error: ProvisionError | None) -> dict[str, Any] | None:
    return {"message": error.message, "hint": error.hint, "code": int(error.code)} if error else None


def _as_applied(deployment: Deployment, applied: dict[str, Any]) -> Deployment:
    """Where the server is now, whatever the file says by now."""
    listen, port = applied.get("listen") or deployment.mlflow.listen, applied.get("port") or deployment.mlflow.port
    return replace(deployment, mlflow=replace(deployment.mlflow, listen=listen, port=port))


def _reached(deployment: Deployment) -> Summary:
    """By which URL a person reaches it, and the tunnel, if there is one."""
    tunnel = running_on(deployment) if needs_tunnel(deployment) else None
    kept = ("url", "state", "reason", "since", "started", "mode")
    told = {key: value for key, value in tunnel.as_json().items() if key in kept} if tunnel else None
    return {
        "url": tunnel.url if tunnel else direct_url(deployment),
        "needs_tunnel": needs_tunnel(deployment),
        "tunnel": told,
    }


def _pending(seen: Seen, applied: dict[str, Any]) -> list[str]:
    """What a setup would change; [] where nothing was set up yet, which is told by other means."""
    if not applied or not seen.machine:
        return []
    return differences(seen.deployment, seen.machine, applied, seen.health["root"])


def _changed(health: dict[str, Any], applied: dict[str, Any]) -> list[str]:
    """The files that somebody else has changed since they were written."""
    recorded, found = applied.get("hashes") or {}, health.get("hashes") or {}
    return sorted(path for path in recorded if found.get(path, recorded[path]) != recorded[path])


def _certificate(served: dict[str, str] | None) -> dict[str, Any] | None:
    if not served:
        return None
    from cryptography import x509

    certificate = x509.load_der_x509_certificate(base64.b64decode(served["der"]))
    ends = certificate.not_valid_after_utc
    return {"name": served["name"], "ends": ends.timestamp(), "issuer": certificate.issuer.rfc4514_string()}
