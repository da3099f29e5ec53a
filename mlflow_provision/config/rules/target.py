"""Name, host and scope: which server, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlflow_provision.config.deployment import Deployment
from mlflow_provision.config.rules.paths import path_problem
from mlflow_provision.config.wording import did_you_mean, has_control_characters, one_of, shown

NAME = re.compile(r"[a-z][a-z0-9-]{0,24}")  # mlflow-<name> is a Linux user: 32 characters at most
OUR_FOLDERS = ("bin", "python", "releases", "tools")  # beside the deployments, under the root
SCOPES = ("system", "user")
HOST = re.compile(r"[A-Za-z0-9._@:%+\[\]-]+")
LONGEST_HOST = 320


def target_problems(deployment: Deployment) -> Iterator[str]:
    if problem := name_problem(deployment.name):
        yield f"name: {problem}"
    if problem := host_problem(deployment.host):
        yield f"host: {problem}"
    yield from scope_problems(deployment)
    if deployment.identity_file and (problem := identity_file_problem(deployment.identity_file)):
        yield f"identity_file: {problem}"
    user_scope = deployment.scope == "user"
    if deployment.root and (problem := path_problem(deployment.root, deployment.scope, home=user_scope)):
        yield f"root: {problem}"


def name_problem(name: str) -> str | None:
    if not name:
        return "is empty: use a short word such as server, staging or team-a"
    if name in OUR_FOLDERS:
        return f"{shown(name)} is a folder we keep beside the deployments: use another name"
    if name.endswith("-backup"):
        return f"{shown(name)} cannot be used: mlflow-{name} is the unit that backs up {shown(name[:-7])}"
    if name.endswith("-gc"):
        return f"{shown(name)} cannot be used: mlflow-{name} is the unit that cleans up {shown(name[:-3])}"
    if not NAME.fullmatch(name) or name.endswith("-"):
        return f"{shown(name)} cannot be used: 1 to 25 small letters, digits and '-', a letter first, no '-' at the end"
    return None


def host_problem(host: str) -> str | None:
    """What `ssh` takes: an alias of ~/.ssh/config, name, user@name, ssh://user@name:port. Or `local`."""
    user, at, name = host.removeprefix("ssh://").rpartition("@")
    if ":" in user:
        return "has a password in it, and this file is no place for a secret: write user@name"
    if not name or (at and not user):
        return f"{shown(host)} is incomplete: give what you would give to ssh, such as ubuntu@203.0.113.7, or local"
    if len(host) > LONGEST_HOST:
        return f"{shown(host)} has {len(host)} characters: this is no host"
    if not HOST.fullmatch(host.removeprefix("ssh://")):
        return f"{shown(host)} has a space or a special character: give what you would give to ssh, or local"
    if host.startswith("-") or name.startswith("-"):
        return f"{shown(host)} starts with '-': ssh would take it for an option"
    return None


def scope_problems(deployment: Deployment) -> Iterator[str]:
    if deployment.scope not in SCOPES:
        meant = did_you_mean(deployment.scope, SCOPES)
        yield f"scope: {shown(deployment.scope)} is not a scope: use {one_of(SCOPES)}{meant}"
    elif deployment.scope == "user" and deployment.host != "local":
        yield 'scope: "user" is for this machine only: use host = "local", or scope = "system" for a host over SSH'


def identity_file_problem(path: str) -> str | None:
    """A path on the operator's machine, which may have spaces; it never reaches a shell."""
    if not path.startswith(("/", "~/")):
        return f"{shown(path)} is not an absolute path: start it with / or ~/"
    if has_control_characters(path) or path.endswith("/"):
        return f"{shown(path)} is not the path of a file"
    return None
