"""What this machine knows and can be: its deployments, and the scope of a server on it."""

from __future__ import annotations

import os
from pathlib import Path

from mlflow_provision.config.deployment import Deployment
from mlflow_provision.config.places import deployment_path, names
from mlflow_provision.config.toml_file import load
from mlflow_provision.errors import ProvisionError


def deployments() -> dict[str, Deployment]:
    """By name, all whose files can be read; of another one whatever command is about it tells what is wrong."""
    found = {}
    for name in names():
        try:
            found[name] = load(deployment_path(name))
        except ProvisionError:
            continue
    return found


def local_scope() -> str:
    """On this machine root and systemd make a system service, everybody else gets a server of their own."""
    return "system" if os.geteuid() == 0 and Path("/run/systemd/system").is_dir() else "user"
