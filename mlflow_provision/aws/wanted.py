"""Which policy belongs to a deployment. Pure."""

from __future__ import annotations

from mlflow_provision.aws.policy import Policy, policy
from mlflow_provision.config import Deployment
from mlflow_provision.errors import ExitCode, ProvisionError


def policy_of(
    deployment: Deployment, backup_destination: str = "", region: str = "", append_only: bool = False
) -> Policy:
    """The policy for a deployment's artifacts and backups, as far as they are in buckets at AWS.

    `backup_destination` is used in place of the deployment's own; `append_only` also where the deployment does not say
    so. Raises ProvisionError where no policy is needed.
    """
    artifacts, backup = deployment.artifacts, deployment.backup
    wanted = artifacts.destination if "://" in artifacts.destination and not artifacts.endpoint_url else ""
    backups = backup_destination or _backups_at_aws(deployment)
    if not wanted and not backups:
        raise _none_needed(deployment)
    append_only = append_only or (backup.append_only and bool(backups))
    return policy(wanted, backups, region or artifacts.region or backup.region, append_only)


def _backups_at_aws(deployment: Deployment) -> str:
    """Where they are, if that is a bucket at AWS. Without credentials of their own they are where the artifacts are."""
    backup = deployment.backup
    elsewhere = backup.endpoint_url if backup.credentials else deployment.artifacts.endpoint_url
    return backup.destination if backup.on_s3 and not elsewhere else ""


def _none_needed(deployment: Deployment) -> ProvisionError:
    artifacts = deployment.artifacts
    if artifacts.endpoint_url:
        return ProvisionError(
            f"{artifacts.destination} needs no IAM policy: {artifacts.endpoint_url} is not AWS",
            f"allow it there; then see if that is enough: mlflow-provision verify {deployment.name}",
            ExitCode.USAGE,
        )
    return ProvisionError(
        f"{deployment.name} needs no IAM policy: its artifacts are in a folder of its host",
        "for a bucket it does not use yet: mlflow-provision iam-policy --artifacts s3://bucket/prefix",
        ExitCode.USAGE,
    )
