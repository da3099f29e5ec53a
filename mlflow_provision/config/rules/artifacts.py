"""Where artifacts go: a folder, or a bucket and how the server may use it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlflow_provision.config.deployment import Artifacts, Deployment
from mlflow_provision.config.rules.paths import inside, path_problem
from mlflow_provision.config.rules.urls import url_problem
from mlflow_provision.config.wording import did_you_mean, one_of, shown

CREDENTIALS = ("instance-role", "profile", "keys")
LATER = {
    "gs": "Google Cloud Storage comes later",
    "wasbs": "Azure Blob Storage comes later",
    "wasb": "Azure Blob Storage comes later",
    "abfss": "Azure Data Lake comes later",
    "hdfs": "HDFS is not supported",
    "file": "write the folder itself, without file://",
    "s3a": "write s3://",
    "s3n": "write s3://",
    "http": "name the bucket, s3://bucket/prefix, and put the address of the store into artifacts.endpoint_url",
    "https": "name the bucket, s3://bucket/prefix, and put the address of the store into artifacts.endpoint_url",
    "mlflow-artifacts": "this is what clients see: name where the server keeps them",
}
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
PREFIX = re.compile(r"[A-Za-z0-9._=+,:@/-]+")
LONGEST_PREFIX = 512  # a key has 1024 bytes, and MLflow appends its own
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}")
ANY_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")  # S3-compatible stores have their own: auto, garage, nyc3
PROFILE = re.compile(r"[A-Za-z0-9._@+=:/-]{1,64}")
DEFAULT_ROOT = "/opt/mlflow"


def artifacts_problems(deployment: Deployment) -> Iterator[str]:
    artifacts = deployment.artifacts
    scheme, separator, rest = artifacts.destination.partition("://")
    if separator and scheme == "s3":
        if problem := bucket_problem(rest):
            yield f"artifacts.destination: {problem}"
        yield from store_problems(artifacts)
    elif separator:
        yield f"artifacts.destination: {scheme_problem(artifacts.destination, scheme)}"
    else:
        if artifacts.destination and (problem := folder_problem(deployment)):
            yield f"artifacts.destination: {problem}"
        yield from no_store_problems(artifacts)


def scheme_problem(destination: str, scheme: str) -> str:
    reason = LATER.get(scheme.lower(), "no such store is known")
    return f"{shown(destination)} cannot be used: {reason} (today: s3://bucket/prefix or an absolute folder)"


def folder_problem(deployment: Deployment) -> str | None:
    folder, scope = deployment.artifacts.destination, deployment.scope
    if problem := path_problem(folder, scope, home=False):
        return f"{problem}, or s3://bucket/prefix"
    root = deployment.root or (DEFAULT_ROOT if scope == "system" else "")
    if root and inside(folder, root) and not inside(folder, f"{root}/{deployment.name}/data"):
        return f'{shown(folder)} is inside {root}, where the server itself is: use "" for a folder in its data'
    if root and inside(root, folder):
        return f"{shown(folder)} contains {root}, where the server itself is: use another folder"
    return None


def bucket_problem(location: str) -> str | None:
    """`location` is bucket/prefix; the rules are Amazon's."""
    bucket, slash, prefix = location.partition("/")
    if not BUCKET.fullmatch(bucket) or ".." in bucket or re.fullmatch(r"[0-9]+(\.[0-9]+){3}", bucket):
        rule = "3 to 63 small letters, digits, '-' and '.', a letter or digit first and last"
        return f"{shown(bucket)} is not the name of a bucket: {rule}"
    if not slash:
        return None
    if len(prefix) > LONGEST_PREFIX:
        return f"the prefix has {len(prefix)} characters: use at most {LONGEST_PREFIX}"
    if "//" in location or location.endswith("/"):
        return f"{shown(prefix)} has an empty part: write one '/' between two names"
    if not PREFIX.fullmatch(prefix):
        return f"{shown(prefix)} cannot be a prefix: use letters, digits and . _ = + , : @ - between '/'"
    if {".", ".."} & set(prefix.split("/")):
        return f"{shown(prefix)} has '.' or '..' for a name: S3 does not follow these"
    return None


def store_problems(artifacts: Artifacts) -> Iterator[str]:
    """What the server needs to use a bucket."""
    if artifacts.region and (problem := region_problem(artifacts.region, artifacts.endpoint_url)):
        yield f"artifacts.region: {problem}"
    if artifacts.endpoint_url and (problem := url_problem(artifacts.endpoint_url)):
        yield f"artifacts.endpoint_url: {problem}"
    if not artifacts.credentials:
        yield f"artifacts.credentials: missing: say how the server may use the bucket: {one_of(CREDENTIALS)}"
    elif artifacts.credentials not in CREDENTIALS:
        meant = did_you_mean(artifacts.credentials, CREDENTIALS)
        yield f"artifacts.credentials: {shown(artifacts.credentials)} is unknown: use {one_of(CREDENTIALS)}{meant}"
    if artifacts.credentials == "profile" and not PROFILE.fullmatch(artifacts.profile):
        problem = f"{shown(artifacts.profile)} is not a profile" if artifacts.profile else "missing"
        yield f"artifacts.profile: {problem}: name a profile of your ~/.aws/credentials"
    elif artifacts.credentials in ("instance-role", "keys") and artifacts.profile:
        yield f'artifacts.profile: has no use with credentials = "{artifacts.credentials}": remove one of the two'


def region_problem(region: str, endpoint_url: str) -> str | None:
    if endpoint_url:
        return None if ANY_REGION.fullmatch(region) else f"{shown(region)} is not a region"
    if REGION.fullmatch(region):
        return None
    if REGION.fullmatch(region[:-1]) and region[-1].isalpha():
        return f"{shown(region)} is an availability zone: its region is {region[:-1]}"
    return f"{shown(region)} is not an AWS region: write it like us-west-1"


def no_store_problems(artifacts: Artifacts) -> Iterator[str]:
    for key in ("region", "endpoint_url", "credentials", "profile"):
        if getattr(artifacts, key):
            yield f"artifacts.{key}: has no use with a folder: remove it, or set artifacts.destination to s3://bucket/prefix"
