"""The server's settings as environment variables: every flag of `mlflow server` has one, so nothing shows in `ps`."""

from __future__ import annotations

from typing import Any

from mlflow_provision.blueprint.reach import allowed_hosts, allowed_origins
from mlflow_provision.blueprint.sizing import workers
from mlflow_provision.config import Deployment
from mlflow_provision.layout import Layout
from mlflow_provision.version import numbers


def server(layout: Layout, facts: dict[str, Any]) -> dict[str, str]:
    """Names and values for server.env, without secrets."""
    settings = layout.deployment.mlflow
    origins, processes = allowed_origins(layout.deployment, facts), workers(layout.deployment, facts)
    return {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{layout.database}",
        "MLFLOW_ARTIFACTS_DESTINATION": layout.artifacts,
        "MLFLOW_HOST": settings.listen,
        "MLFLOW_PORT": str(settings.port),
        "MLFLOW_WORKERS": str(processes),
        # uvicorn kills one of several that is silent for 5 s, which an import on a busy host is for longer; for ever.
        **({"UVICORN_TIMEOUT_WORKER_HEALTHCHECK": "60"} if processes > 1 else {}),
        "MLFLOW_AUTH_CONFIG_PATH": str(layout.auth_config),
        "MLFLOW_SERVER_ALLOWED_HOSTS": allowed_hosts(layout.deployment, facts),
        **({"MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": origins} if origins else {}),
        # Job runners are seven more processes and 1 GB: for server-side scoring and evaluation in the web page only.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true" if settings.job_execution else "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TMPDIR": str(layout.temporary),
        "HOME": str(layout.data),
        **_store(layout),
    }


def _store(layout: Layout) -> dict[str, str]:
    artifacts = layout.deployment.artifacts
    if not artifacts.destination.startswith("s3://"):
        return {}
    values = {"AWS_EC2_METADATA_V1_DISABLED": "true"}
    if artifacts.region:
        values["AWS_DEFAULT_REGION"] = artifacts.region
    if artifacts.credentials in ("profile", "keys"):
        values["AWS_SHARED_CREDENTIALS_FILE"] = str(layout.aws_credentials)
        values["AWS_CONFIG_FILE"] = str(layout.aws_config)
        values["AWS_PROFILE"] = artifacts.profile or "default"
    if artifacts.endpoint_url:
        values["MLFLOW_S3_ENDPOINT_URL"] = artifacts.endpoint_url
        # boto3 sends checksums in trailers by default since 1.36; many S3-compatible stores refuse them.
        values["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
        values["AWS_RESPONSE_CHECKSUM_VALIDATION"] = "when_required"
    return values


def version_tuple(deployment: Deployment) -> tuple[int, ...]:
    """(3, 17, 2) for 3.17.2rc1 and 3.17.2."""
    return numbers(deployment.mlflow.version)
