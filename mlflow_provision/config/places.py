"""Where deployment files are, and which one is meant."""

from __future__ import annotations

import os
from pathlib import Path

from mlflow_provision.config.files import delete, explained
from mlflow_provision.config.rules.target import name_problem
from mlflow_provision.config.wording import did_you_mean, one_of, shown
from mlflow_provision.errors import ExitCode, ProvisionError

SUFFIX = ".toml"
SECRETS_SUFFIX = ".secrets.toml"
ROTATION_SUFFIX = ".rotating.json"


def config_dir() -> Path:
    """The folder of all deployment files; MLFLOW_PROVISION_CONFIG_DIR names another."""
    if given := os.environ.get("MLFLOW_PROVISION_CONFIG_DIR"):
        return Path(given).expanduser()
    from platformdirs import user_config_path

    return user_config_path("mlflow-provision")


def deployment_path(name: str) -> Path:
    """The file of a deployment, there or not; refuses what cannot be a name, so that it never leaves the folder."""
    if problem := name_problem(name):
        raise ProvisionError(f"name: {problem}", code=ExitCode.USAGE)
    return config_dir() / f"{name}{SUFFIX}"


def secrets_path(deployment_path: Path) -> Path:
    """The secrets file beside a deployment file."""
    return deployment_path.with_name(deployment_path.name.removesuffix(SUFFIX) + SECRETS_SUFFIX)


def secrets_beside(path: Path, source: Path | None = None) -> Path:
    """The deployment file that has the secrets beside it. Ours may be a link to one that --config named: then secrets
    that somebody put beside that one count, but new ones are kept among ours, out of the reach of git."""
    elsewhere = (source or path).resolve()
    return elsewhere if secrets_path(elsewhere).exists() else path


def names() -> list[str]:
    """All deployments of this operator, sorted."""
    folder = config_dir()
    if not folder.is_dir():
        return []
    with explained(folder, "list"):
        files = [path.name for path in folder.iterdir() if path.is_file()]
    return sorted(
        name.removesuffix(SUFFIX)
        for name in files
        if name.endswith(SUFFIX) and not name.endswith(SECRETS_SUFFIX) and not name.startswith(".")
    )


def find(name_or_path: str) -> Path:
    """The file of an existing deployment, given by name, or by path (anything with a '/' or .toml at its end)."""
    if "/" in name_or_path or name_or_path.endswith(SUFFIX):
        return existing_file(Path(name_or_path).expanduser())
    known = names()
    if name_or_path in known:
        return config_dir() / f"{name_or_path}{SUFFIX}"
    if not known:
        raise ProvisionError(
            f"there is no deployment {shown(name_or_path)}: there are none in {config_dir()}",
            hint="make one: mlflow-provision setup user@host",
            code=ExitCode.USAGE,
        )
    raise ProvisionError(
        f"there is no deployment {shown(name_or_path)}: there is {one_of(known)}{did_you_mean(name_or_path, known)}",
        hint="mlflow-provision list",
        code=ExitCode.USAGE,
    )


def existing_file(path: Path) -> Path:
    if path.name.endswith(SECRETS_SUFFIX):
        meant = path.with_name(path.name.removesuffix(SECRETS_SUFFIX) + SUFFIX)
        raise ProvisionError(f"{path} holds secrets: give the deployment file, {meant}", code=ExitCode.USAGE)
    with explained(path, "read"):
        is_file = path.is_file()
    if not is_file:
        what = "is not a file" if path.exists() else "does not exist"
        raise ProvisionError(f"{shown(str(path))} {what}", hint="mlflow-provision list", code=ExitCode.USAGE)
    return path


def rotation_path(deployment_path: Path) -> Path:
    """What a change of secrets has noted that was begun and has not ended."""
    return deployment_path.with_name(deployment_path.name.removesuffix(SUFFIX) + ROTATION_SUFFIX)


def forget(deployment_path: Path) -> None:
    """Delete a deployment's secrets and then its file; what is gone already is no error."""
    for path in (rotation_path(deployment_path), secrets_path(deployment_path), deployment_path):
        delete(path)
