"""S3 with the standard library: proof that a store can be used, and what backups need of it."""

from __future__ import annotations

from mlflow_provision.agent.s3.bucket import Bucket
from mlflow_provision.agent.s3.error import S3Error
from mlflow_provision.agent.s3.signature import Credentials

__all__ = ["Bucket", "Credentials", "S3Error"]
