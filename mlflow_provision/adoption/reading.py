"""The settings of an old server, as those of a deployment; and what it holds, in words."""

from __future__ import annotations

import re
from typing import Any

from mlflow_provision.config import DEFAULT_MLFLOW_VERSION, Deployment, changed
from mlflow_provision.console.text import plural
from mlflow_provision.version import numbers

Settings = dict[str, Any]
LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")


def settings(old: dict[str, Any]) -> Settings:
    """The settings of an old server (`facts["old_server"]`) by the keys of a deployment file. No secret is in there."""
    found: Settings = {
        "mlflow.version": _newer(old["version"], DEFAULT_MLFLOW_VERSION),
        "mlflow.port": old["port"],
        "mlflow.listen": "127.0.0.1" if old["listen"] == "localhost" else old["listen"],
        "mlflow.allowed_hosts": _names(old["allowed_hosts"]),
    }
    if old["auth"]["on"]:
        found["auth.admin_username"] = old["auth"]["admin_username"]
        found["auth.default_permission"] = old["auth"]["default_permission"]
    if is_url(old["artifacts"]):
        found["artifacts.destination"] = old["artifacts"]
        found |= {f"artifacts.{key}": old["aws"].get(key, "") for key in ("region", "endpoint_url", "credentials")}
        found["artifacts.profile"] = ""
    return found


def with_settings(deployment: Deployment, old: dict[str, Any]) -> Deployment:
    """The deployment with the old server's settings wherever nothing else than the default was asked for."""
    plain = Deployment(deployment.name, deployment.host)
    wanted = {key: value for key, value in settings(old).items() if _at(deployment, key) == _at(plain, key)}
    if any(_at(deployment, f"artifacts.{key}") for key in ("destination", "credentials", "profile")):
        kept = ("artifacts.credentials", "artifacts.profile")  # they belong together
        wanted = {
            key: value for key, value in wanted.items() if key not in kept or not deployment.artifacts.credentials
        }
    return changed(deployment, wanted)


def summary(details: dict[str, Any], old: dict[str, Any]) -> str:
    """What there is to take over, in a few words."""
    counts = details["counts"]
    parts = [plural(counts.get(word, 0), word[:-1]) for word in ("experiments", "runs", "models", "users")]
    if details["artifact_files"] or not is_url(old["artifacts"]):
        parts.append(plural(details["artifact_files"], "artifact file"))
    return ", ".join(part for part in parts if not part.startswith("0 ")) or "nothing but an empty database"


def _names(allowed: list[str]) -> tuple[str, ...]:
    """Names that our own list can hold: without ports, and without those that every server answers to."""
    names = [re.sub(r":(\*|[0-9]+)$", "", name) if name.count(":") == 1 else name for name in allowed]
    return tuple(dict.fromkeys(name for name in names if "*" not in name and name not in LOOPBACK))


def is_url(place: str) -> bool:
    """Is this a bucket or the like, not a folder?"""
    return "://" in place


def _newer(one: str, other: str) -> str:
    """The later of two versions. Staying behind would be for ever: setup does not migrate databases later."""
    return one if numbers(one) > numbers(other) else other


def _at(deployment: Deployment, path: str) -> Any:
    section, _, key = path.rpartition(".")
    return getattr(getattr(deployment, section) if section else deployment, key)
