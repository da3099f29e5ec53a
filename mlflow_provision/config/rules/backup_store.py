"""How the host may use the bucket of its backups: as that of the artifacts, or with credentials of its own."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_provision.config.deployment import OF_A_BUCKET, Deployment
from mlflow_provision.config.rules.artifacts import CREDENTIALS, PROFILE, region_problem
from mlflow_provision.config.rules.urls import url_problem
from mlflow_provision.config.wording import did_you_mean, one_of, shown


def backup_store_problems(deployment: Deployment) -> Iterator[str]:
    backup, artifacts = deployment.backup, deployment.artifacts
    if not backup.on_s3:
        for key in OF_A_BUCKET:
            if getattr(backup, key):
                yield f"backup.{key}: has no use without a bucket: remove it, or set backup.destination to s3://bucket/prefix"
        if backup.append_only:
            yield "backup.append_only: is for a bucket: in a folder nothing could keep the host from deleting"
        return
    if backup.credentials and backup.credentials not in CREDENTIALS:
        meant = did_you_mean(backup.credentials, CREDENTIALS)
        yield f"backup.credentials: {shown(backup.credentials)} is unknown: use {one_of(CREDENTIALS)}{meant}"
    elif not backup.credentials and not artifacts.destination.startswith("s3://"):
        yield f"backup.credentials: missing: say how the host may use the bucket: {one_of(CREDENTIALS)}"
    elif not backup.credentials and backup.endpoint_url:
        yield "backup.credentials: missing: those of the artifacts are not sent to another store"
    if backup.endpoint_url and (problem := url_problem(backup.endpoint_url)):
        yield f"backup.endpoint_url: {problem}"
    elsewhere = backup.endpoint_url if backup.credentials else artifacts.endpoint_url
    if backup.region and (problem := region_problem(backup.region, elsewhere)):
        yield f"backup.region: {problem}"
    if backup.credentials == "profile" and not PROFILE.fullmatch(backup.profile):
        problem = f"{shown(backup.profile)} is not a profile" if backup.profile else "missing"
        yield f"backup.profile: {problem}: name a profile of your ~/.aws/credentials"
    elif backup.profile and backup.credentials != "profile":
        yield 'backup.profile: has no use without credentials = "profile": remove one of the two'
