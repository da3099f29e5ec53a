"""Artifacts: the bucket or folder, its credentials, and the way through the proxy."""

from __future__ import annotations

from mlflow_provision.doctor.catalog.entry import APPLY, Entry, Row

GROUP = "Artifacts"

ENTRIES = (
    Entry(
        "store",
        GROUP,
        "the host may use the store",
        "the host cannot use the store",
        Row(
            "s3:PutObject (or another one) is missing",
            "The role or key may not do it under this prefix.",
            "Grant it on the resource that the message names; `mlflow-provision iam-policy NAME` prints all that is "
            "needed.",
        ),
        more=(
            Row(
                "InvalidAccessKeyId, SignatureDoesNotMatch",
                "The key id, or the secret, is wrong.",
                "Check the profile: `aws sts get-caller-identity --profile PROFILE`.",
            ),
            Row(
                "NoSuchBucket, PermanentRedirect, AuthorizationHeaderMalformed",
                "The bucket's name, its region or the address of the store is not the one of the deployment.",
                "`mlflow-provision setup NAME --region REGION`, or `--endpoint-url URL` for a store that is not "
                "Amazon's.",
            ),
            Row(
                "S3 cannot be reached through a company proxy",
                "The server gets no proxy variables from the host.",
                "Use a VPC endpoint or a store that is reachable directly.",
            ),
        ),
    ),
    Entry(
        "credentials-partial",
        GROUP,
        "its AWS credentials are whole",
        "half of its AWS credentials is missing",
        Row(
            "Partial credentials found in shared-credentials-file, missing: aws_secret_access_key",
            "The file has a key id without its secret, or the other way round: it was changed by hand.",
            "`mlflow-provision setup NAME` writes it anew.",
        ),
        APPLY,
    ),
    Entry(
        "profile-mismatch",
        GROUP,
        "its AWS profile is the one it uses",
        "its AWS profile does not exist",
        Row(
            "The config profile (…) could not be found",
            "AWS_PROFILE names a profile that the server's AWS files do not have.",
            "`mlflow-provision setup NAME` writes both anew.",
        ),
        APPLY,
    ),
    Entry(
        "proxy-mode",
        GROUP,
        "new artifacts go through the server",
        "new artifacts do not go through the server",
        Row(
            "NoCredentialsError on the client, while the server works",
            "The server hands out `s3://` addresses, so that every client needs a key of its own: it was started as "
            "`mlflow server --default-artifact-root …`, or with `mlflow server --no-serve-artifacts`.",
            "`mlflow-provision setup NAME` puts the proxy in front again.",
        ),
        APPLY,
    ),
    Entry(
        "artifact-roundtrip",
        GROUP,
        "an artifact goes up and comes back",
        "an artifact does not go up and come back",
        Row(
            "an upload ends with 500",
            "The server cannot write to its store.",
            "`mlflow-provision verify NAME` shows the reason.",
        ),
    ),
    Entry(
        "old-artifact-uris",
        GROUP,
        "old experiments can be read without a cloud key",
        "old experiments cannot be read without a cloud key",
        Row(
            "downloads of old runs ask for AWS credentials, new ones work",
            "Experiments keep the place they were made with: those of an old server point at `s3://…`, or at a folder "
            "of the host.",
            "`mlflow-provision move-artifacts NAME --dry-run` counts them and shows what would be moved.",
        ),
    ),
    Entry(
        "clock",
        GROUP,
        "the host's clock agrees with the store's",
        "the host's clock does not agree with the store's",
        Row(
            "RequestTimeTooSkewed",
            "The host's clock is wrong: S3 refuses what was signed more than 15 minutes ago, or ahead.",
            "`sudo timedatectl set-ntp true` on the host.",
        ),
    ),
)
