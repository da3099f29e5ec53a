"""From what was typed to a host that can be asked about backups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_provision.cli.backup.place import keys_of, moved, need_place
from mlflow_provision.cli.connection import connected, where
from mlflow_provision.cli.deployments import chosen

if TYPE_CHECKING:
    from mlflow_provision.backups import Reached
    from mlflow_provision.config import Deployment, Secrets
    from mlflow_provision.console import Console


def wanted(console: Console, name: str | None, flags: Mapping[str, Any]) -> tuple[Deployment, Path]:
    """The deployment that is meant, with the place that was typed, and its file."""
    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    keys = keys_of(flags)
    return (moved(deployment, keys) if keys else deployment), path


def secrets_of(path: Path) -> Secrets:
    from mlflow_provision.config import load_secrets, secrets_beside

    return load_secrets(secrets_beside(path))


@contextmanager
def asked_host(
    console: Console, deployment: Deployment, secrets: Secrets, accept_new_host_key: bool
) -> Iterator[Reached]:
    """The host of a deployment that has a place for backups; the connection ends with the block.

    Whoever only reads gives `only_reading(deployment)`: that needs no passphrase."""
    from mlflow_provision.backups import reach

    need_place(deployment)
    with connected(console, deployment, accept_new_host_key) as host:
        with console.busy("Looking at " + where(deployment)):
            reached = reach(host, deployment, secrets)
        console.home = reached.facts["home"] if deployment.scope == "user" else ""
        yield reached
