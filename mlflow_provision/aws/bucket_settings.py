"""What a bucket of ours is like: private, encrypted, versioned, reached through TLS only.

What is paid for grows with what nobody sees: parts of uploads that were broken off, and old versions of what was
deleted. Both go by themselves, after ABORT_DAYS and OLD_VERSION_DAYS.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mlflow_provision.aws.session import partition_of

ABORT_DAYS = 7
OLD_VERSION_DAYS = 30  # so long can what was deleted by mistake be brought back


def settings(s3: Any, name: str, region: str) -> list[tuple[str, Callable[[], Any]]]:
    """Each setting, and the call that makes it; `word: what it means`. Closed first."""
    block = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    encryption = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}
    return [
        (
            "private: public access is blocked, whatever a policy or an object may say",
            lambda: s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(block, True)),
        ),
        (
            "owned: all objects belong to the account of the bucket, access lists are off",
            lambda: s3.put_bucket_ownership_controls(
                Bucket=name, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
            ),
        ),
        (
            "encrypted: with keys that S3 manages",
            lambda: s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [encryption]}),
        ),
        (
            "versioned: what is deleted or overwritten can be brought back",
            lambda: s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"}),
        ),
        (
            f"cleaned: unfinished uploads go after {ABORT_DAYS} days, old versions after {OLD_VERSION_DAYS}",
            lambda: s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=lifecycle()),
        ),
        (
            "TLS only: requests without it are denied",
            lambda: s3.put_bucket_policy(Bucket=name, Policy=json.dumps(tls_only(name, region))),
        ),
    ]


def lifecycle() -> dict[str, Any]:
    everything = {"Filter": {"Prefix": ""}, "Status": "Enabled"}
    return {
        "Rules": [
            {
                "ID": "unfinished-uploads",
                **everything,
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_DAYS},
            },
            {
                "ID": "old-versions",
                **everything,
                "NoncurrentVersionExpiration": {"NoncurrentDays": OLD_VERSION_DAYS},
                "Expiration": {"ExpiredObjectDeleteMarker": True},
            },
        ]
    }


def tls_only(name: str, region: str) -> dict[str, Any]:
    """A bucket policy that only denies: who may do what is said by policies of users and roles."""
    arn = f"arn:{partition_of(region)}:s3:::{name}"
    statement = {
        "Sid": "OnlyWithTLS",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
