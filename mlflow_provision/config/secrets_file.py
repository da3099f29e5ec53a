"""The secrets beside a deployment file, for the operator alone. The environment wins, and is never written down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

from mlflow_provision.backup_keys import identity_problem
from mlflow_provision.config.deployment import Deployment, Secrets
from mlflow_provision.config.files import parse_toml, read_private_text, write_whole
from mlflow_provision.config.places import secrets_path
from mlflow_provision.config.rules.auth import password_problem
from mlflow_provision.config.rules.backup_secrets import passphrase_problem, ping_url_problem
from mlflow_provision.config.shape import printable, type_of
from mlflow_provision.config.validate import refuse
from mlflow_provision.config.wording import did_you_mean

MODE = 0o600
HEADER = "# Secrets of the deployment {name}. Only you can open this file: keep it so, and keep it out of git.\n\n"
KNOWN = [field.name for field in fields(Secrets)]
ENVIRONMENT = {name: f"MLFLOW_PROVISION_{name.upper()}" for name in KNOWN}
OF_ONE_KEY = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
LONGEST_KEY = 4096


def load_secrets(deployment_path: Path) -> Secrets:
    """The secrets of the deployment in this file: what the environment gives, else what the secrets file says."""
    path = secrets_path(deployment_path)
    stored = read_stored(path)
    given = from_environment()
    if ENVIRONMENT["aws_access_key_id"] in os.environ and "aws_access_key_id" in given:
        stored = {name: value for name, value in stored.items() if name not in OF_ONE_KEY}  # parts of another key
    refuse([f"{ENVIRONMENT[name]}: {problem}" for name, problem in secret_problems(given)], "the environment")
    return Secrets(**{**stored, **given})


def save_secrets(deployment_path: Path, secrets: Secrets) -> None:
    """Write the secrets file, closed to others from its first byte; what the environment gave stays out of it."""
    path = secrets_path(deployment_path)
    wanted = {name: value for name, value in asdict(secrets).items() if value}
    refuse([f"{name}: {problem}" for name, problem in secret_problems(wanted)], str(path))
    stored, given = read_stored(path), from_environment()
    lent = {name for name in given if wanted.get(name) == given[name]}
    if "aws_access_key_id" in lent:
        lent |= {*OF_ONE_KEY}
    wanted |= {name: stored.get(name, "") for name in lent}
    if wanted := {name: value for name, value in wanted.items() if value}:
        write_stored(path, wanted)
    elif stored:
        write_stored(path, {})


def missing_secrets(deployment: Deployment, secrets: Secrets) -> list[str]:
    """What this deployment cannot do without at any time. (The admin password is needed for the first setup only.)"""
    backup = deployment.backup
    needed = [
        *(OF_ONE_KEY[:2] if deployment.artifacts.credentials == "keys" else ()),
        *(("backup_access_key_id", "backup_secret_access_key") if backup.credentials == "keys" else ()),
        *(("backup_passphrase",) if backup.encryption == "passphrase" else ()),
    ]
    return [
        f"{name}: missing: write it to {deployment.name}.secrets.toml, or set {ENVIRONMENT[name]}"
        for name in needed
        if not getattr(secrets, name)
    ]


def read_stored(path: Path) -> dict[str, str]:
    """What the file says; nothing if there is none. Its problems are told by key, without the value."""
    if not path.exists():
        return {}
    tables = parse_toml(read_private_text(path), path)
    problems = [
        *(f"{printable(key)}: there is no such secret{did_you_mean(key, KNOWN)}" for key in tables if key not in KNOWN),
        *(f"{key}: expected text in quotes and found {type_of(tables[key])}" for key in KNOWN if not_text(tables, key)),
    ]
    stored = {name: tables[name] for name in KNOWN if isinstance(tables.get(name), str) and tables[name]}
    refuse([*problems, *(f"{name}: {problem}" for name, problem in secret_problems(stored))], str(path))
    return stored


def not_text(tables: dict[str, object], key: str) -> bool:
    return key in tables and not isinstance(tables[key], str)


def write_stored(path: Path, wanted: dict[str, str]) -> None:
    """Comments and order of an old file stay."""
    import tomlkit

    old = read_private_text(path) if path.exists() else HEADER.format(name=path.name.partition(".")[0])
    document = tomlkit.parse(old)
    for name in KNOWN:
        if name in wanted:
            document[name] = wanted[name]
        elif name in document:
            document.remove(name)
    write_whole(path, tomlkit.dumps(document), MODE)


def from_environment() -> dict[str, str]:
    """An empty variable is as good as none: CI systems set those for secrets they do not have."""
    return {name: os.environ[variable] for name, variable in ENVIRONMENT.items() if os.environ.get(variable)}


def secret_problems(secrets: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What is wrong with which, without saying it."""
    rules = {
        "admin_password": password_problem,
        "backup_passphrase": passphrase_problem,
        "backup_identity": identity_problem,
        "backup_ping_url": ping_url_problem,
    }
    for name, value in secrets.items():
        if problem := rules.get(name, key_problem)(value):
            yield name, problem


def key_problem(value: str) -> str | None:
    """The parts of an AWS key are written into AWS's own file formats on the host."""
    if not value.isascii() or not value.isprintable() or " " in value:
        return "has a space, a line break or another character that no key has"
    return f"is longer than {LONGEST_KEY} characters" if len(value) > LONGEST_KEY else None
