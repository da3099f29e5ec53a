"""The policy of a bucket and a prefix: what is in it, and what is not."""

from __future__ import annotations

import pytest

from mlflow_provision.aws.policy import APPEND_ACTIONS, LIST, OBJECT_ACTIONS, policy, trust_policy
from mlflow_provision.errors import ExitCode, ProvisionError


def test_exactly_this_prefix() -> None:
    assert policy("s3://team/ml") == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Objects",
                "Effect": "Allow",
                "Action": ["s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
                "Resource": ["arn:aws:s3:::team/ml/*"],
            },
            {
                "Sid": "List",
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": ["arn:aws:s3:::team"],
                "Condition": {"StringLike": {"s3:prefix": ["ml/*"]}},
            },
        ],
    }
    assert policy("s3://team/ml/") == policy("s3://team/ml", "s3://team/ml") == policy("s3://team/ml")


def test_backups_in_the_same_bucket() -> None:
    objects, listing = policy("s3://team/ml", "s3://team/backups/mlflow")["Statement"]
    assert objects["Resource"] == ["arn:aws:s3:::team/ml/*", "arn:aws:s3:::team/backups/mlflow/*"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["ml/*", "backups/mlflow/*"]}}


def test_backups_in_another_bucket() -> None:
    objects, first, second = policy("s3://team/ml", "s3://safe/b")["Statement"]
    assert objects["Resource"] == ["arn:aws:s3:::team/ml/*", "arn:aws:s3:::safe/b/*"]
    assert (first["Resource"], second["Resource"]) == (["arn:aws:s3:::team"], ["arn:aws:s3:::safe"])
    assert second["Condition"] == {"StringLike": {"s3:prefix": ["b/*"]}}
    assert len({objects["Sid"], first["Sid"], second["Sid"]}) == 3


def test_a_whole_bucket() -> None:
    objects, listing = policy("s3://team", "s3://team/backups")["Statement"]
    assert objects["Resource"] == ["arn:aws:s3:::team/*"]
    assert "Condition" not in listing


def test_nothing_else_is_allowed() -> None:
    for statement in policy("s3://team/ml", "s3://safe/b")["Statement"]:
        assert set(statement["Action"]) <= {*OBJECT_ACTIONS, LIST}
        assert not [action for action in statement["Action"] if "*" in action]


def test_backups_that_can_only_be_added_to() -> None:
    objects, backups, listing = policy("s3://team/ml", "s3://team/backups", append_only=True)["Statement"]
    assert (objects["Action"], objects["Resource"]) == (list(OBJECT_ACTIONS), ["arn:aws:s3:::team/ml/*"])
    assert backups == {
        "Sid": "Backups",
        "Effect": "Allow",
        "Action": ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload"],
        "Resource": ["arn:aws:s3:::team/backups/*"],
    }
    assert listing == policy("s3://team/ml", "s3://team/backups")["Statement"][1]
    alone, _ = policy("", "s3://safe", append_only=True)["Statement"]
    assert (alone["Action"], alone["Resource"]) == (list(APPEND_ACTIONS), ["arn:aws:s3:::safe/*"])


@pytest.mark.parametrize(
    ("artifacts", "backups"),
    [
        ("s3://team", "s3://team/backups"),
        ("s3://team/ml", "s3://team"),
        ("s3://team/ml", "s3://team/ml/"),
        ("s3://team/ml", "s3://team/ml/backups"),
        ("s3://team/ml/artifacts", "s3://team/ml"),
    ],
)
def test_backups_among_artifacts_cannot_be_append_only(artifacts: str, backups: str) -> None:
    with pytest.raises(ProvisionError) as caught:
        policy(artifacts, backups, append_only=True)
    assert caught.value.code == ExitCode.USAGE and "one is inside the other" in caught.value.message
    policy("s3://team/ml", "s3://team/ml-backups", append_only=True)


def test_append_only_needs_a_place_for_backups() -> None:
    with pytest.raises(ProvisionError, match="append-only is about backups") as caught:
        policy("s3://team/ml", append_only=True)
    assert "--backups s3://" in caught.value.hint


@pytest.mark.parametrize(("region", "start"), [("cn-north-1", "arn:aws-cn:"), ("us-gov-west-1", "arn:aws-us-gov:")])
def test_other_partitions(region: str, start: str) -> None:
    objects, listing = policy("s3://team/ml", region=region)["Statement"]
    assert objects["Resource"][0].startswith(start) and listing["Resource"][0].startswith(start)


@pytest.mark.parametrize("destination", ["/srv/artifacts", "gs://team/ml", "", "s3://", "s3://team/*", "s3://Team/ml"])
def test_what_has_no_policy(destination: str) -> None:
    with pytest.raises(ProvisionError) as caught:
        policy(destination) if destination else policy("folder")
    assert caught.value.code == ExitCode.USAGE and "iam-policy --artifacts s3://" in caught.value.hint


def test_only_instances_may_take_the_role() -> None:
    (statement,) = trust_policy()["Statement"]
    assert (statement["Principal"], statement["Action"]) == ({"Service": "ec2.amazonaws.com"}, "sts:AssumeRole")
    assert trust_policy("cn-north-1")["Statement"][0]["Principal"] == {"Service": "ec2.amazonaws.com.cn"}
