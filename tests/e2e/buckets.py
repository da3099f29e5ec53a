"""Keys, policies and objects: what the tests of buckets share."""

from __future__ import annotations

from typing import Any

from tests.e2e.operator import Operator
from tests.lab import Keys

ACTIONS = {
    "put": ("s3:PutObject", "arn:aws:s3:::{bucket}/ml/*"),
    "get": ("s3:GetObject", "arn:aws:s3:::{bucket}/ml/*"),
    "list": ("s3:ListBucket", "arn:aws:s3:::{bucket}"),
    "delete": ("s3:DeleteObject", "arn:aws:s3:::{bucket}/ml/*"),
}


def policy(bucket: str, without: str) -> dict[str, Any]:
    allowed = [
        {"Effect": "Allow", "Action": action, "Resource": resource.format(bucket=bucket)}
        for name, (action, resource) in ACTIONS.items()
        if name != without
    ]
    return {"Version": "2012-10-17", "Statement": allowed}


def keys_in_environment(operator: Operator, keys: Keys) -> None:
    operator.variables["MLFLOW_PROVISION_AWS_ACCESS_KEY_ID"] = keys.key
    operator.variables["MLFLOW_PROVISION_AWS_SECRET_ACCESS_KEY"] = keys.secret


def keys_of_backups(operator: Operator, keys: Keys) -> None:
    operator.variables["MLFLOW_PROVISION_BACKUP_ACCESS_KEY_ID"] = keys.key
    operator.variables["MLFLOW_PROVISION_BACKUP_SECRET_ACCESS_KEY"] = keys.secret


def keys_in_profile(operator: Operator, profile: str, keys: Keys) -> None:
    aws = operator.home / ".aws"
    aws.mkdir(exist_ok=True)
    (aws / "credentials").write_text(
        f"[{profile}]\naws_access_key_id = {keys.key}\naws_secret_access_key = {keys.secret}\n"
    )


def keys_of(client: Any, bucket: str) -> list[str]:
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
