"""What TARGET, --name and --config mean: a deployment that is known, or a new one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.deployments import complete_name
from mlflow_provision.cli.flags import spoken
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.ssh_target import target_of

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment, Secrets

LOCAL = "local"


@dataclass(frozen=True)
class Wanted:
    """The deployment as it should be, and what is known of it on this machine."""

    deployment: Deployment
    path: Path  # its file among ours, there or not
    source: Path | None = None  # the file that --config named
    port_given: bool = True  # by a flag or a file: then it is not ours to choose
    secrets: Secrets | None = None  # typed by a person; None: those of the secrets file

    @property
    def secrets_beside(self) -> Path:
        """The deployment file with the secrets beside it."""
        from mlflow_provision.config import secrets_beside

        return secrets_beside(self.path, self.source)


def complete_target(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """`local`, or a deployment."""
    found = complete_name(context, parameter, incomplete)
    return [*found, LOCAL] if LOCAL.startswith(incomplete) and LOCAL not in found else found


def wanted(target: str | None, name: str | None, config: str | None, keys: Mapping[str, Any]) -> Wanted:
    """Resolve what was typed; `keys` are the flags, by the key of the deployment file they set."""
    if config:
        if target or name:
            other = "TARGET" if target else "--name"
            raise ProvisionError(f"{other} and --config both name a deployment", "give one of them", ExitCode.USAGE)
        return _from_file(config, keys)
    if not target:
        raise ProvisionError(
            "set up where? Give a TARGET, or --config FILE",
            "mlflow-provision setup local, or mlflow-provision setup user@host",
            ExitCode.USAGE,
        )
    if name == "":  # an unset variable in a script: not the same as no name
        raise ProvisionError("--name: is empty", "give a name, or leave out --name", ExitCode.USAGE)
    known = _known_as(target, name)
    return _existing(known, keys) if known else _new(target, name or _default_name(target), keys)


def _known_as(target: str, name: str | None) -> str | None:
    """The name of the known deployment that is meant, if one is."""
    from mlflow_provision.config import deployments, names

    known = names()
    if target in known and target != LOCAL:
        if name and name != target:
            raise ProvisionError(
                f"TARGET is the deployment {target}, but --name says {name}",
                f"leave out --name, or give the host on which {name} should be",
                ExitCode.USAGE,
            )
        return target
    hosts = {one: deployment.host for one, deployment in deployments().items()}
    here = [one for one, host in hosts.items() if host == target]
    looked_for = name or (here[0] if len(here) == 1 else _default_name(target))
    if looked_for in here:
        return looked_for
    if here and not name:
        raise ProvisionError(
            f"{target} has {len(here)} deployments: {', '.join(here)}", "name one: --name " + here[0], ExitCode.USAGE
        )
    if looked_for in known:
        raise _taken(looked_for, hosts.get(looked_for, "another host"), target)
    return None


def _taken(name: str, host: str, target: str) -> ProvisionError:
    from mlflow_provision.config import deployment_path

    return ProvisionError(
        f"the name {name} belongs to a deployment on {host}",
        f"choose another one: --name {_suggestion(target)}\n"
        f"or, if that host only got a new address, write it into {deployment_path(name)}",
        ExitCode.USAGE,
    )


def _suggestion(target: str) -> str:
    first = re.split(r"[.:/]", target_of(target).host)[0].lower()
    word = re.sub(r"[^a-z0-9-]", "-", first)[:20].strip("-")
    return word if word[:1].isalpha() and word != LOCAL else "server2"


def _default_name(target: str) -> str:
    return LOCAL if target == LOCAL else "server"


def _existing(name: str, keys: Mapping[str, Any]) -> Wanted:
    from mlflow_provision.config import changed, deployment_path, load

    path = deployment_path(name)
    return Wanted(checked(changed(load(path), keys)), path)


def _new(target: str, name: str, keys: Mapping[str, Any]) -> Wanted:
    from mlflow_provision.config import Deployment, changed, deployment_path, local_scope

    scope = local_scope() if target == LOCAL else "system"
    deployment = checked(changed(Deployment(name, target, scope=scope), keys))
    return Wanted(deployment, deployment_path(name), port_given="mlflow.port" in keys)


def _from_file(config: str, keys: Mapping[str, Any]) -> Wanted:
    """A file from anywhere, such as a repository."""
    from mlflow_provision.config import changed, deployment_path, load, names

    source = Path(config).expanduser().absolute()
    deployment = load(source)
    path = deployment_path(deployment.name)
    if deployment.name in names() and not path.samefile(source):
        host = load(path).host
        if host != deployment.host:
            raise _taken(deployment.name, host, deployment.host)
    return Wanted(checked(changed(deployment, keys)), path, source)


def checked(deployment: Deployment) -> Deployment:
    """Refuse what cannot be built, in the words of the flags. `latest` is a version only until the index was asked."""
    from mlflow_provision.config import DEFAULT_MLFLOW_VERSION, validate

    standing_in = deployment
    if deployment.mlflow.version == "latest":
        standing_in = replace(deployment, mlflow=replace(deployment.mlflow, version=DEFAULT_MLFLOW_VERSION))
    if problems := [spoken(problem) for problem in validate(standing_in)]:
        raise ProvisionError("\n".join(problems), "see mlflow-provision setup --help", ExitCode.USAGE)
    return deployment
