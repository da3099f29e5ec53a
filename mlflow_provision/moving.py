"""Artifacts that move, without printing: under the proxy, or with the whole store to another place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlflow_provision import backups
from mlflow_provision.agent.moving.bucket import Access
from mlflow_provision.agent.protocol import Event
from mlflow_provision.aws import profile_keys
from mlflow_provision.blueprint import moving as requests
from mlflow_provision.blueprint.moving import DELETE, LOOK, LOOK_STORE, MOVE, RELOCATE, Move
from mlflow_provision.config import Deployment, Secrets, load, save
from mlflow_provision.deployment_keys import with_keys
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Host
from mlflow_provision.host.program import operator
from mlflow_provision.provision import (
    Facts,
    apply_resources,
    look,
    password_unknown,
    prepare,
    try_store,
)


@dataclass(frozen=True)
class Site:
    """A deployment whose host was asked."""

    host: Host
    deployment: Deployment
    secrets: Secrets = field(repr=False)
    facts: Facts

    @property
    def place(self) -> str:
        """Where its server keeps artifacts."""
        beside = f"{self.facts['root']['path']}/{self.deployment.name}/data/artifacts"
        return self.deployment.artifacts.destination or beside

    @property
    def backup_place(self) -> str:
        return requests.backup_place(self.deployment, self.facts)

    @property
    def applied(self) -> str:
        """Where they are by the record on the host; the deployment file may say something else."""
        return str(self.facts["applied"].get("artifacts") or self.place)


def site(host: Host, deployment: Deployment, secrets: Secrets) -> Site:
    """Ask the host of a deployment that is set up, and refuse what is half-way."""
    deployment, secrets = with_keys(deployment, secrets)
    facts, _ = look(host, deployment)
    if facts["applied"] is None:
        raise ProvisionError(
            f"{deployment.name} is not set up on {deployment.host}: it has no artifacts to move",
            f"set it up: mlflow-provision setup {deployment.name}",
        )
    for name, words, way_out in _HALF_WAY:
        if facts.get(name):
            raise ProvisionError(f"{words} of {deployment.name} was interrupted half-way", f"finish it: {way_out}")
    if not secrets.admin_password:
        raise password_unknown(deployment)
    return Site(host, deployment, secrets, facts)


_HALF_WAY = (
    ("restoring", "a restore", "mlflow-provision restore NAME, or go back: mlflow-provision restore --undo NAME"),
    ("upgrading", "an upgrade", "mlflow-provision upgrade NAME"),
)


def refuse_unapplied(there: Site) -> None:
    """What the file says must be what the server does: else nobody knows which place is meant."""
    if there.applied != there.place:
        raise ProvisionError(
            f"the server keeps its artifacts in {there.applied}, and the deployment file says {there.place}",
            f"move them there: mlflow-provision move-artifacts {there.deployment.name} --to {there.place}\n"
            f'or put back destination = "{there.applied}" in the deployment file',
            ExitCode.USAGE,
        )


def source(profile: str, region: str, endpoint_url: str) -> Access | None:
    """How buckets are read that are not the deployment's own; None: as that one is."""
    if not (profile or region or endpoint_url):
        return None
    if not profile:
        return Access(region, endpoint_url)
    keys = profile_keys(profile)
    return Access(
        region or ("" if endpoint_url else keys.region), endpoint_url, keys.access_key_id, keys.secret_access_key
    )


def looked(there: Site, move: Move) -> Iterator[Event]:
    """What would be moved: see agent.moving.look. Changes nothing."""
    return there.host.request("move", _request(there, replace(move, action=LOOK)))


def moved(there: Site, move: Move) -> Iterator[Event]:
    """Move them; a backup is made first, and read back."""
    encryption = requests.move_request(there.deployment, there.secrets, there.facts, move)["settings"]["encryption"]
    identity = backups.known_identity(encryption, there.secrets) if encryption["recipient"] else ""
    data = _request(there, replace(move, action=MOVE, identity=identity))
    return backups.asked(there.host, "move", data, there.deployment)


def deleted(there: Site, move: Move) -> Iterator[Event]:
    """Delete the originals of earlier moves."""
    return there.host.request("move", _request(there, replace(move, action=DELETE)))


def ready(there: Site) -> Iterator[Event]:
    """Make the host ready for that backup."""
    resources = requests.ready(there.deployment, there.facts)
    what = f"move-artifacts {there.deployment.name}"
    return apply_resources(there.host, resources, there.deployment, there.facts, what)


@dataclass(frozen=True)
class Target:
    """The same deployment with another place for its artifacts."""

    deployment: Deployment
    secrets: Secrets = field(repr=False)


def target(there: Site, new: Deployment, known: Secrets) -> Target:
    """The `new` place, proved. Raises ProvisionError where the store cannot be there, or the host may not use it."""
    deployment, secrets = with_keys(new, known)
    secrets = replace(secrets, admin_password=there.secrets.admin_password)
    if deployment.artifacts.destination.startswith("s3://"):
        try_store(there.host, deployment, secrets)
    prepare(there.host, deployment, secrets, artifacts_moved=True)
    return Target(deployment, secrets)


def again(there: Site, to: Target) -> Site:
    """The same site after its store has moved."""
    return replace(there, deployment=to.deployment, secrets=to.secrets)


def from_the_old_one(there: Site, move: Move) -> Move:
    """The move with the way to the bucket that the store was in: its new one may have another."""
    return replace(move, source=move.source or requests.access(there.deployment, there.secrets))


def store_looked(there: Site, to: Target) -> Iterator[Event]:
    """How much there is to copy. Changes nothing."""
    return there.host.request("move", _relocation(there, to, Move(LOOK_STORE)))


def relocated(there: Site, to: Target, move: Move) -> Iterator[Event]:
    """Move the store: afterwards the server keeps its artifacts in the new place, or in the old one as before."""
    return there.host.request("move", _relocation(there, to, replace(move, action=RELOCATE)))


def keep(path: Path, to: Deployment) -> None:
    """The deployment file says where the artifacts are from now on."""
    save(replace(load(path), artifacts=to.artifacts), path)


def _relocation(there: Site, to: Target, move: Move) -> dict[str, Any]:
    old, new = (there.deployment, there.secrets), (to.deployment, to.secrets)
    return requests.relocate_request(old, new, there.facts, move, operator())


def _request(there: Site, move: Move) -> dict[str, Any]:
    return requests.move_request(there.deployment, there.secrets, there.facts, move)
