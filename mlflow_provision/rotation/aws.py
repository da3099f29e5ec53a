"""Another AWS key for a server and its backups, without printing: tried first, then put everywhere, then proved."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlflow_provision.aws.profile_file import credentials_file, replace_keys
from mlflow_provision.aws.roles import AccessKey
from mlflow_provision.blueprint.backup_settings import place
from mlflow_provision.config import (
    ENVIRONMENT,
    Deployment,
    Secrets,
    deployment_path,
    deployments,
    load_secrets,
    save_secrets,
    secrets_beside,
    secrets_path,
)
from mlflow_provision.deployment_keys import with_keys
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Host, answer

ARTIFACTS, BACKUPS = "artifacts", "backups"
PATIENCE = 30.0  # seconds until every part of AWS has heard of a new key; ten are usual
PAUSE = 2.0
_FIELDS = {
    ARTIFACTS: ("aws_access_key_id", "aws_secret_access_key"),
    BACKUPS: ("backup_access_key_id", "backup_secret_access_key"),
}


@dataclass(frozen=True)
class Use:
    """One key, and what it is used for: `parts` are "artifacts", "backups" or both."""

    deployment: Deployment
    path: Path  # the deployment's file
    secrets: Secrets = field(repr=False)  # with the key as it is now
    parts: tuple[str, ...]

    @property
    def what(self) -> str:
        """What its rotation is called in the journal."""
        return f"aws-{self.parts[0]}"

    @property
    def key(self) -> AccessKey:
        return _key(self.secrets, self.parts[0])

    def secrets_with(self, key: AccessKey) -> Secrets:
        """All secrets of the deployment, with another key in the place of this one."""
        changed = self.secrets
        for part in self.parts:
            names = _FIELDS[part]
            changed = replace(changed, **{names[0]: key.access_key_id, names[1]: key.secret_access_key})
        return replace(changed, aws_session_token="") if ARTIFACTS in self.parts else changed

    @property
    def places(self) -> list[str]:
        """What the key is for, as people know it."""
        destinations = {ARTIFACTS: self.deployment.artifacts.destination, BACKUPS: self.deployment.backup.destination}
        shared = self.deployment.backup.on_s3 and not self.deployment.backup.credentials
        parts = [*self.parts, *([BACKUPS] if shared and ARTIFACTS in self.parts else [])]
        return [f"{part} in {destinations[part]}" for part in parts]

    @property
    def kept(self) -> list[str]:
        """Where it is kept on this machine."""
        return list(dict.fromkeys(str(_kept(self, part)) for part in self.parts))

    @property
    def at_amazon(self) -> bool:
        """Can IAM know of it? Of an S3-compatible store whose owner says where its IAM is, too."""
        endpoints = {
            ARTIFACTS: self.deployment.artifacts.endpoint_url,
            BACKUPS: self.deployment.backup.endpoint_url,
        }
        own_iam = os.environ.get("AWS_ENDPOINT_URL_IAM") or os.environ.get("AWS_ENDPOINT_URL")
        return bool(own_iam) or not any(endpoints[part] for part in self.parts)


def use(deployment: Deployment, path: Path, secrets: Secrets, backups_only: bool) -> Use:
    """What is to be rotated. Raises ProvisionError where there is no key."""
    deployment, secrets = with_keys(deployment, secrets)
    there = [part for part in (ARTIFACTS, BACKUPS) if _way(deployment, part) in ("keys", "profile")]
    if not there:
        raise ProvisionError(
            f"{deployment.name} has no AWS key: {_without_key(deployment)}",
            f"see what it uses: mlflow-provision status {deployment.name}",
            ExitCode.USAGE,
        )
    if backups_only and BACKUPS not in there:
        raise ProvisionError(
            f"the backups of {deployment.name} have no key of their own", "leave out --backups", ExitCode.USAGE
        )
    first = BACKUPS if backups_only else there[0]
    same = [part for part in there if _key(secrets, part).access_key_id == _key(secrets, first).access_key_id]
    return Use(deployment, path, secrets, (first, *(part for part in same if part != first)))


def try_key(host: Host, used: Use, key: AccessKey) -> None:
    """Prove from the host that the key may do what it is needed for. A key that was just made is waited for."""
    for part in used.parts:
        data = _store(replace(used, secrets=used.secrets_with(key)), part)
        _patiently(host, data)


def keep(used: Use, key: AccessKey) -> None:
    """Put the key where the old one is kept on this machine."""
    from_profile = {getattr(used.deployment, _section(part)).profile for part in used.parts if _is_profile(used, part)}
    for profile in sorted(from_profile):
        replace_keys(profile, key)
    typed = [part for part in used.parts if not _is_profile(used, part)]
    if typed:
        beside = secrets_beside(used.path)
        stored = load_secrets(beside)
        for part in typed:
            names = _FIELDS[part]
            stored = replace(stored, **{names[0]: key.access_key_id, names[1]: key.secret_access_key})
        if ARTIFACTS in typed:
            stored = replace(stored, aws_session_token="")
        save_secrets(beside, stored)


def stale_variables(used: Use) -> list[str]:
    """Variables of the environment that still have the old key, and win over the secrets file."""
    names = [ENVIRONMENT[name] for part in used.parts if not _is_profile(used, part) for name in _FIELDS[part]]
    return [name for name in names if os.environ.get(name)]


def others_with(access_key_id: str, name: str) -> list[str]:
    """The other deployments of this machine that use the same key."""
    found = []
    for other, deployment in deployments().items():
        if other == name:
            continue
        try:
            secrets = load_secrets(secrets_beside(deployment_path(other)))
            _, secrets = with_keys(deployment, secrets)
        except ProvisionError:
            continue  # it cannot use any key as it is
        parts = [part for part in (ARTIFACTS, BACKUPS) if _way(deployment, part) in ("keys", "profile")]
        if access_key_id in [_key(secrets, part).access_key_id for part in parts]:
            found.append(other)
    return found


def _store(used: Use, part: str) -> dict[str, Any]:
    """The data of the verb `store`."""
    if part == BACKUPS:
        there = place(used.deployment, used.secrets)
        more = {"section": "backup", "append_only": used.deployment.backup.append_only}
        region, endpoint_url, destination = there.region, there.endpoint_url, there.destination
    else:
        artifacts, more = used.deployment.artifacts, {}
        region, endpoint_url, destination = artifacts.region, artifacts.endpoint_url, artifacts.destination
    key = _key(used.secrets, part)
    return {
        "destination": destination,
        "region": region,
        "endpoint_url": endpoint_url,
        "access_key_id": key.access_key_id,
        "secret_access_key": key.secret_access_key,
        "session_token": used.secrets.aws_session_token if part == ARTIFACTS else "",
        **more,
    }


def _patiently(host: Host, data: dict[str, Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            answer(host, "store", data)
            return
        except ProvisionError as error:
            if error.code is not ExitCode.FAILED or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)


def _way(deployment: Deployment, part: str) -> str:
    if part == ARTIFACTS:
        return deployment.artifacts.credentials
    return deployment.backup.credentials if deployment.backup.on_s3 else ""


def _without_key(deployment: Deployment) -> str:
    if "instance-role" in (deployment.artifacts.credentials, deployment.backup.credentials):
        return "it uses the instance role of its host, whose keys AWS itself changes every few hours"
    return "neither its artifacts nor its backups are in a bucket"


def _key(secrets: Secrets, part: str) -> AccessKey:
    names = _FIELDS[part]
    return AccessKey(getattr(secrets, names[0]), getattr(secrets, names[1]))


def _section(part: str) -> str:
    return "artifacts" if part == ARTIFACTS else "backup"


def _is_profile(used: Use, part: str) -> bool:
    return _way(used.deployment, part) == "profile"


def _kept(used: Use, part: str) -> Path:
    return credentials_file() if _is_profile(used, part) else secrets_path(secrets_beside(used.path))
