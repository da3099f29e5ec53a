"""Buckets: which there are, where one is, and a new one that is closed before anything is in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mlflow_provision.aws.bucket_settings import settings
from mlflow_provision.aws.session import (
    TAG,
    client,
    code_of,
    command,
    default_region,
    denied,
    told,
    whose,
)
from mlflow_provision.config.rules.artifacts import bucket_problem
from mlflow_provision.config.wording import shown
from mlflow_provision.errors import ExitCode, ProvisionError

UNFINISHED = ("mlflow-provision", "unfinished")  # a tag, until all settings are made
_NOT_THERE = ("NotImplemented", "MethodNotAllowed", "XNotImplemented", "MalformedXML", "InvalidRequest")
_RESERVED = re.compile(r"(xn--|sthree-|amzn-s3-demo-).*|.*(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3|-an)")


class BucketExists(ProvisionError):
    """The bucket is there, and these credentials can use it. It was not changed."""


class BucketTaken(ProvisionError):
    """The bucket is there, and these credentials may not use it: most likely it is somebody else's."""


def buckets(profile: str) -> list[str]:
    """The names of all buckets of the account, sorted. Raises NotAllowed where listing them is denied."""
    s3 = client("s3", profile, default_region(profile) or "us-east-1")
    with told("list your buckets", profile):
        pages = s3.get_paginator("list_buckets").paginate()
        return sorted(bucket["Name"] for page in pages for bucket in page.get("Buckets", ()))


def region_of(profile: str, name: str) -> str:
    """The region of a bucket, which AWS tells everybody with keys; "" if there is no such bucket or no answer."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = client("s3", profile, default_region(profile) or "us-east-1").head_bucket(Bucket=name)
    except ClientError as error:
        answer = error.response
    except (BotoCoreError, ProvisionError):
        return ""
    return str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", ""))


def bucket_name_problem(name: str) -> str:
    """Why a new bucket cannot have this name; "" if it can."""
    if "/" in name:
        return f"{shown(name)} is not the name of a bucket: what comes after the '/' is the prefix"
    if problem := bucket_problem(name):
        return problem
    if "." in name:
        return f"{shown(name)} has a '.': Amazon's certificates do not cover such names; write '-'"
    if _RESERVED.fullmatch(name):
        return f"{shown(name)} begins or ends with something that Amazon keeps for itself"
    return ""


def create_bucket(profile: str, name: str, region: str, endpoint_url: str = "") -> list[str]:
    """Make a bucket, and tell what was done, a line each. One that was left half-made by an earlier call is finished.

    Raises BucketExists for any other bucket that is there already, BucketTaken for one of somebody else. A store that
    is not Amazon's may lack some of the settings: then the line says so.
    """
    if problem := bucket_name_problem(name):
        raise ProvisionError(problem, "choose another name", ExitCode.USAGE)
    region = region or default_region(profile)
    if not region and not endpoint_url:
        raise ProvisionError(
            f"in which region should the bucket {name} be?", command("configure set region REGION", profile)
        )
    s3 = client("s3", profile, region or "us-east-1", endpoint_url)
    with told(f"create the bucket {name}", profile):
        done = _made(s3, profile, name, region, endpoint_url)
        for line, setting in settings(s3, name, region):
            done.append(_set(line, setting, endpoint_url))
        _set("tagged", lambda: _tag(s3, name, TAG), endpoint_url)
    return done


def _made(s3: Any, profile: str, name: str, region: str, endpoint_url: str) -> list[str]:
    tags = _tags(s3, profile, name)
    if tags is not None:
        if UNFINISHED not in tags:
            raise _exists(name)
        return [f"went on with the bucket {name}, which was begun before"]
    try:
        _create(s3, name, region, tagged=not endpoint_url)
    except s3.exceptions.ClientError as error:
        if code_of(error) == "BucketAlreadyOwnedByYou":
            raise _exists(name) from None
        if code_of(error) == "BucketAlreadyExists":
            raise _taken(profile, name) from None
        raise
    _set("tagged", lambda: _tag(s3, name, TAG, UNFINISHED), endpoint_url)
    return [f"created the bucket {name}" + (f" in {region}" if region else "")]


def _tags(s3: Any, profile: str, name: str) -> list[tuple[str, str]] | None:
    """The tags of a bucket, None if there is no such bucket. Asked so, not with HEAD: that answer has no words."""
    try:
        return [(tag["Key"], tag["Value"]) for tag in s3.get_bucket_tagging(Bucket=name)["TagSet"]]
    except s3.exceptions.ClientError as error:
        if code_of(error) == "NoSuchBucket":
            return None
        if code_of(error) in ("NoSuchTagSet", *_NOT_THERE):
            return []
        if not denied(error):
            raise
    try:
        s3.list_objects_v2(Bucket=name, MaxKeys=1)
    except s3.exceptions.ClientError as error:
        if code_of(error) == "NoSuchBucket":
            return None
        if denied(error):
            raise _taken(profile, name) from None
        raise
    return []


def _create(s3: Any, name: str, region: str, tagged: bool) -> None:
    """With its tags at once where that is possible: then no moment is left in which a kill would orphan it."""
    where: dict[str, Any] = {"LocationConstraint": region} if region not in ("", "us-east-1") else {}
    tags = [{"Key": key, "Value": value} for key, value in (TAG, UNFINISHED)]
    knows_tags = "Tags" in s3.meta.service_model.shape_for("CreateBucketConfiguration").members
    if tagged and knows_tags:
        try:
            s3.create_bucket(Bucket=name, CreateBucketConfiguration={**where, "Tags": tags})
            return
        except s3.exceptions.ClientError as error:
            if not denied(error):  # s3:TagResource is a permission of its own
                raise
    s3.create_bucket(Bucket=name, **({"CreateBucketConfiguration": where} if where else {}))


def _set(line: str, setting: Callable[[], Any], endpoint_url: str) -> str:
    from botocore.exceptions import ClientError

    try:
        setting()
    except ClientError as error:
        if not endpoint_url or code_of(error) not in _NOT_THERE:
            raise
        return f"not set, because this store does not know it: {line.partition(':')[0]}"
    return line


def _tag(s3: Any, name: str, *tags: tuple[str, str]) -> None:
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": key, "Value": value} for key, value in tags]})


def _exists(name: str) -> BucketExists:
    return BucketExists(
        f"the bucket {name} exists already, and was left as it is",
        f"use it with --artifacts s3://{name}/PREFIX, or choose another name",
    )


def _taken(profile: str, name: str) -> BucketTaken:
    return BucketTaken(
        f"the bucket {name} exists, and {whose(profile)} may not use it: names are shared by everybody at AWS, "
        "so it is probably somebody else's",
        "choose another name, for example with the name of your company in front",
    )
