"""What a server must be allowed to do with its bucket, and nothing else. Pure: no call to AWS."""

from __future__ import annotations

from typing import Any

from mlflow_provision.aws.session import partition_of
from mlflow_provision.config.rules.artifacts import bucket_problem
from mlflow_provision.config.rules.paths import inside
from mlflow_provision.config.wording import shown
from mlflow_provision.errors import ExitCode, ProvisionError

VERSION = "2012-10-17"  # of the policy language: the newest there is

# The last one takes back the parts of a large upload that failed; without it they stay, unseen and paid for.
OBJECT_ACTIONS = ("s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
# Of backups that nobody who gets hold of the host can delete. What is overwritten, a versioned bucket still has.
APPEND_ACTIONS = ("s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload")
LIST = "s3:ListBucket"

Policy = dict[str, Any]


def policy(destination: str, backup_destination: str = "", region: str = "", append_only: bool = False) -> Policy:
    """The least-privilege IAM policy for artifacts, and backups, in `s3://bucket/prefix` (or all of a bucket).

    With `append_only`, backups can be added and read, and not be deleted. `region` tells China and GovCloud apart.
    Only `s3://` destinations need a policy: anything else raises ProvisionError.
    """
    arn = f"arn:{partition_of(region)}:s3:::"
    places = [place for place in (destination, backup_destination) if place] or [""]
    deletable = places
    statements = []
    if append_only:
        _check_apart(destination, backup_destination)
        statements = [_objects("Backups", APPEND_ACTIONS, arn, [backup_destination])]
        deletable = [destination] if destination else []
    if deletable:
        statements = [_objects("Objects", OBJECT_ACTIONS, arn, deletable), *statements]
    prefixes = _prefixes(places)
    for number, (bucket, under) in enumerate(prefixes.items(), 1):
        statements.append(_listing("List" if len(prefixes) == 1 else f"List{number}", arn + bucket, under))
    return {"Version": VERSION, "Statement": statements}


def trust_policy(region: str = "") -> Policy:
    """Who may take the role: EC2 instances."""
    service = "ec2.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": VERSION, "Statement": [statement]}


def _objects(sid: str, actions: tuple[str, ...], arn: str, destinations: list[str]) -> dict[str, Any]:
    resources = [arn + _all_of(bucket, prefix) for bucket, under in _prefixes(destinations).items() for prefix in under]
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resources}


def _check_apart(destination: str, backup_destination: str) -> None:
    """Artifacts must be deletable; so backups among them would be deletable too."""
    if not backup_destination:
        raise ProvisionError(
            "append-only is about backups, and it is not known where they are",
            "say where: --backups s3://bucket/prefix",
            ExitCode.USAGE,
        )
    if destination and (inside(backup_destination, destination) or inside(destination, backup_destination)):
        raise ProvisionError(
            f"backups in {shown(backup_destination)} cannot be append-only: artifacts in {shown(destination)} can be "
            "deleted, and one is inside the other",
            "give the backups a bucket or a prefix of their own: --backups s3://bucket/prefix",
            ExitCode.USAGE,
        )


def _listing(sid: str, bucket: str, prefixes: list[str]) -> dict[str, Any]:
    """MLflow and our own proof list with a prefix that goes on after the slash, or ends with it."""
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": [LIST], "Resource": [bucket]}
    if "" not in prefixes:
        statement["Condition"] = {"StringLike": {"s3:prefix": [f"{prefix}/*" for prefix in prefixes]}}
    return statement


def _prefixes(destinations: list[str]) -> dict[str, list[str]]:
    """The prefixes wanted in each bucket; [""] for one that is wanted as a whole."""
    wanted: dict[str, list[str]] = {}
    for destination in destinations:
        bucket, prefix = _place(destination)
        wanted[bucket] = list(dict.fromkeys([*wanted.get(bucket, []), prefix]))
    return {bucket: [""] if "" in prefixes else prefixes for bucket, prefixes in wanted.items()}


def _all_of(bucket: str, prefix: str) -> str:
    return f"{bucket}/{prefix}/*" if prefix else f"{bucket}/*"


def _place(destination: str) -> tuple[str, str]:
    scheme, _, place = destination.partition("://")
    if scheme != "s3":
        raise ProvisionError(
            f"{shown(destination)} needs no IAM policy: it is not a bucket at AWS",
            "give a bucket: mlflow-provision iam-policy --artifacts s3://bucket/prefix",
            ExitCode.USAGE,
        )
    place = place.rstrip("/")
    if problem := bucket_problem(place):
        raise ProvisionError(problem, "mlflow-provision iam-policy --artifacts s3://bucket/prefix", ExitCode.USAGE)
    bucket, _, prefix = place.partition("/")
    return bucket, prefix
