"""How a bucket is reached for a long piece of work: with keys, or as the host's instance role."""

from __future__ import annotations

from typing import Callable

from mlflow_provision.agent.http import Connections
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3 import verdict
from mlflow_provision.agent.s3.bucket import Bucket
from mlflow_provision.agent.s3.error import S3Error
from mlflow_provision.agent.s3.instance_role import METADATA_URL, NoInstanceRole, role_credentials
from mlflow_provision.agent.s3.patience import Patience
from mlflow_provision.agent.s3.signature import Credentials

_TIMEOUT = 60.0  # seconds of silence


def opened(
    name: str,
    region: str,
    endpoint_url: str,
    keys: Credentials | None,
    metadata_url: str,
    section: str,
    stopping: Callable[[], bool],
) -> tuple[Bucket, str]:
    """The bucket, and the instance role whose credentials are used, renewed in time, where `keys` is None; else "".
    `section` of the deployment file is about it. Raises AgentError of kind "store"."""
    role, renew = "", None
    if keys is None:
        url = metadata_url or METADATA_URL
        role, keys = of_the_role(url, section)
        renew = lambda: role_credentials(url)[1]  # noqa: E731
    bucket = Bucket(name, region, endpoint_url, keys, _TIMEOUT, renew, Patience(stopping=stopping), Connections())
    return bucket, role


def of_the_role(metadata_url: str, section: str) -> tuple[str, Credentials]:
    """The name of the host's instance role, and its credentials. Raises AgentError of kind "store"."""
    try:
        return role_credentials(metadata_url or METADATA_URL)
    except NoInstanceRole as error:
        raise verdict.no_role(str(error), section) from None


def refusal(error: S3Error, action: str, destination: str, bucket: Bucket, role: str, section: str) -> AgentError:
    """What an answer means in words. `action` is what IAM calls that which was asked for."""
    if not verdict.denied(error):
        return verdict.refused(bucket.name, error, role, section)
    return verdict.incomplete(destination, bucket.region, role, [verdict.action_in(error) or action], [], [])
