"""`setup --create-bucket`: the bucket is made between the yes and the first change on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console


def planned_bucket(deployment: Deployment) -> str:
    """The name of the bucket that is to be made; "" where it is there already. Refuses what cannot be one."""
    from mlflow_provision.aws.buckets import bucket_name_problem, buckets

    artifacts = deployment.artifacts
    scheme, _, place = artifacts.destination.partition("://")
    if scheme != "s3":
        raise ProvisionError(
            "--create-bucket: the artifacts are to go into a folder",
            "name the bucket: --artifacts s3://bucket/prefix",
            ExitCode.USAGE,
        )
    bucket = place.partition("/")[0]
    if problem := bucket_name_problem(bucket):
        raise ProvisionError(f"--create-bucket: {problem}", "choose another name", ExitCode.USAGE)
    try:
        there = not artifacts.endpoint_url and bucket in buckets(artifacts.profile)
    except ProvisionError:  # not allowed to list: making it tells
        there = False
    return "" if there else bucket


def make_bucket(console: Console, deployment: Deployment, bucket: str) -> None:
    """With the AWS profile of the deployment, or your default credentials. One that is there already is not changed."""
    from mlflow_provision.aws.buckets import BucketExists, create_bucket

    artifacts = deployment.artifacts
    try:
        with console.busy(f"Making the bucket {bucket}"):
            done = create_bucket(artifacts.profile, bucket, artifacts.region, artifacts.endpoint_url)
    except BucketExists as there:
        done = [there.message]
    for line in done:
        console.say(f"  {line}")
