"""S3 with the standard library: as much of it as proves that an artifact store can be used."""

from __future__ import annotations

from mlflow_provision.agent.s3.bucket import Bucket, S3Error
from mlflow_provision.agent.s3.signature import Credentials

__all__ = ["Bucket", "Credentials", "S3Error"]
