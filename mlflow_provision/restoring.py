"""A backup put back, without printing: on its host, or on another one that is set up first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_provision import backups
from mlflow_provision.agent.protocol import Event
from mlflow_provision.backups import Backup, Reached
from mlflow_provision.blueprint.backup import restore_request
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.config.deployment import OFF
from mlflow_provision.deployment_keys import with_keys
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Host
from mlflow_provision.provision import look, with_version
from mlflow_provision.version import numbers

LOCAL = "local"


@dataclass(frozen=True)
class Wish:
    """What is to be restored, and how."""

    backup: Backup
    identity: str = field(default="", repr=False)
    safety: bool = True  # back up first what is there now
    artifacts: bool = True


def elsewhere(deployment: Deployment, target: str) -> Deployment:
    """The deployment on another host: the same one, with the scope that fits there."""
    from mlflow_provision.config.here import local_scope

    scope = local_scope() if target == LOCAL else "system"
    if target == deployment.host:
        scope = deployment.scope
    own_key = deployment.identity_file if target != LOCAL else ""
    return replace(deployment, host=target, scope=scope, identity_file=own_key)


def site(host: Host, deployment: Deployment, secrets: Secrets) -> Reached:
    """The host, set up or blank."""
    deployment, secrets = with_keys(deployment, secrets)
    facts, _ = look(host, deployment)
    return backups.reached_with(host, deployment, secrets, facts)


def blank(reached: Reached) -> bool:
    """Was nothing of this deployment ever applied there?"""
    return reached.facts["applied"] is None


def before_setup(reached: Reached) -> Reached:
    """The same for a look at the backups from a host that has neither our user nor our folders yet: it only reads."""
    return replace(reached, settings={**reached.settings, "user": "", "state": ""})


def fitting(deployment: Deployment, backup: Backup) -> Deployment:
    """The deployment with the MLflow of the backup, if that is newer: a database never becomes older."""
    wanted, had = deployment.mlflow.version, backup["mlflow_version"]
    newer = numbers(had) > numbers(wanted) and numbers(wanted)
    return with_version(deployment, had) if newer else deployment


def unscheduled(deployment: Deployment) -> Deployment:
    """The same without backups that are made by themselves."""
    return (
        replace(deployment, backup=replace(deployment.backup, schedule=OFF))
        if deployment.backup.scheduled
        else deployment
    )


def compared(reached: Reached, wish: Wish) -> dict[str, Any]:
    """What a restore would replace, and what is newer than the backup. Changes nothing."""
    return backups.data_of(_request(reached, "look", wish))


def restore(reached: Reached, wish: Wish) -> Iterator[Event]:
    """Put it back: afterwards the server works with the data of the backup, or with those it had before."""
    return _request(reached, "restore", wish)


def undo(reached: Reached) -> Iterator[Event]:
    """Back to what was there before a restore that was interrupted; its answer is `{"id", "state"}`."""
    return _request(reached, "undo", Wish({"id": ""}))


def refuse_stranger(reached: Reached, seen: dict[str, Any], known_host: str) -> None:
    """Another host that serves this deployment already, with people's work in it, is not restored onto by mistake."""
    deployment = reached.deployment
    if deployment.host == known_host or seen.get("unfinished") or not seen["now"].get("used"):
        return
    raise ProvisionError(
        f"{deployment.host} already has a server {deployment.name} that people have used, "
        f"and it is not the one known here, on {known_host}",
        f"if it is the same machine under a new address, write that into the deployment file, host = "
        f'"{deployment.host}", then: mlflow-provision restore {deployment.name}',
        ExitCode.USAGE,
    )


def _request(reached: Reached, action: str, wish: Wish) -> Iterator[Event]:
    data = restore_request(
        reached.deployment,
        reached.secrets,
        reached.facts,
        action,
        wish.backup["id"],
        wish.identity,
        wish.safety,
        wish.artifacts,
    )
    return backups.asked(reached.host, "restore", data, reached.deployment)
