"""The AWS keys that a deployment asks for: from a profile, from the secrets file, or none."""

from __future__ import annotations

from dataclasses import replace

from mlflow_provision.aws import profile_keys
from mlflow_provision.backup_keys import begin, kdf_for
from mlflow_provision.config import Deployment, Secrets, missing_secrets
from mlflow_provision.errors import ExitCode, ProvisionError


def with_keys(deployment: Deployment, secrets: Secrets) -> tuple[Deployment, Secrets]:
    """Both with the AWS keys that the deployment asks for, and no others; a profile may also know the region."""
    if problems := missing_secrets(deployment, secrets):
        raise ProvisionError("\n".join(problems), "write them there, then run the same command again", ExitCode.USAGE)
    if deployment.backup.encryption == "passphrase":
        begin(secrets.backup_passphrase, kdf_for(deployment.backup.destination, deployment.name))
    deployment, secrets = _with_backup_keys(deployment, secrets)
    artifacts = deployment.artifacts
    if artifacts.credentials == "keys":
        return deployment, secrets
    if artifacts.credentials != "profile":
        return deployment, _with_key(secrets, "", "")
    keys = profile_keys(artifacts.profile)
    if keys.region and not artifacts.region and not artifacts.endpoint_url:
        deployment = replace(deployment, artifacts=replace(artifacts, region=keys.region))
    return deployment, _with_key(secrets, keys.access_key_id, keys.secret_access_key)


def _with_backup_keys(deployment: Deployment, secrets: Secrets) -> tuple[Deployment, Secrets]:
    """The same of the place for backups, where it has credentials of its own."""
    backup = deployment.backup
    if backup.credentials == "keys":
        return deployment, secrets
    if backup.credentials != "profile":
        return deployment, replace(secrets, backup_access_key_id="", backup_secret_access_key="")
    keys = profile_keys(backup.profile)
    if keys.region and not backup.region and not backup.endpoint_url:
        deployment = replace(deployment, backup=replace(backup, region=keys.region))
    return deployment, replace(
        secrets, backup_access_key_id=keys.access_key_id, backup_secret_access_key=keys.secret_access_key
    )


def _with_key(secrets: Secrets, key: str, secret: str) -> Secrets:
    return replace(secrets, aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token="")
