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
    artifacts = deployment.artifacts
    if artifacts.endpoint_url:
        raise ProvisionError(
            f"{artifacts.destination} needs no IAM policy: {artifacts.endpoint_url} is not AWS",
            f"allow it there; then see if that is enough: mlflow-provision verify {deployment.name}",
            ExitCode.USAGE,
        )
    at_aws = [
        place if place.startswith("s3://") else "" for place in (artifacts.destination, deployment.backup.destination)
    ]
    backups = backup_destination or at_aws[1]
    if not at_aws[0] and not backups:
        raise ProvisionError(
            f"{deployment.name} needs no IAM policy: its artifacts are in a folder of its host",
            "for a bucket it does not use yet: mlflow-provision iam-policy --artifacts s3://bucket/prefix",
            ExitCode.USAGE,
        )
    return policy(at_aws[0], backups, region or artifacts.region, append_only)
