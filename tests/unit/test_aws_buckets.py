"""A new bucket, piece by piece, against moto's S3; and what happens to a bucket that is there already."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.aws import NotAllowed
from mlflow_provision.aws.buckets import (
    UNFINISHED,
    BucketExists,
    BucketTaken,
    bucket_name_problem,
    buckets,
    create_bucket,
    region_of,
)
from mlflow_provision.aws.session import TAG
from mlflow_provision.errors import ProvisionError
from tests.unit.aws_account import PROFILE, REGION, account, client

pytest.importorskip("moto", reason="moto is not installed here")
NAME = "team-mlflow"
SETTINGS = (
    "PutBucketTagging",
    "PutPublicAccessBlock",
    "PutBucketOwnershipControls",
    "PutBucketEncryption",
    "PutBucketVersioning",
    "PutBucketLifecycleConfiguration",
    "PutBucketPolicy",
)


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with account(tmp_path, monkeypatch):
        yield client("s3")


def tags(s3: Any, name: str = NAME) -> set[tuple[str, str]]:
    return {(tag["Key"], tag["Value"]) for tag in s3.get_bucket_tagging(Bucket=name)["TagSet"]}


def assert_finished(s3: Any, name: str = NAME) -> None:
    block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert len(block) == 4 and all(block.values())
    owned = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
    assert owned == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    (rule,) = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert rule["BucketKeyEnabled"] is True
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Resource"] == [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    uploads, versions = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert uploads["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert versions["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert versions["Expiration"] == {"ExpiredObjectDeleteMarker": True}
    assert {uploads["Status"], versions["Status"]} == {"Enabled"}
    assert tags(s3, name) == {TAG}


@pytest.mark.parametrize("region", [REGION, "us-east-1"])
def test_a_new_bucket_has_every_setting(s3: Any, region: str) -> None:
    done = create_bucket(PROFILE, NAME, region)
    assert done[0] == f"created the bucket {NAME} in {region}"
    words = [line.partition(":")[0] for line in done[1:]]
    assert words == ["private", "owned", "encrypted", "versioned", "cleaned", "TLS only"]
    assert_finished(s3)
    assert (s3.get_bucket_location(Bucket=NAME)["LocationConstraint"] or "us-east-1") == region
    assert buckets(PROFILE) == [NAME]


def test_the_region_of_the_profile_is_the_default(s3: Any, tmp_path: Path) -> None:
    create_bucket(PROFILE, NAME, "")
    assert s3.get_bucket_location(Bucket=NAME)["LocationConstraint"] == REGION
    (tmp_path / "aws-config").write_text("")
    with pytest.raises(ProvisionError, match="in which region") as caught:
        create_bucket(PROFILE, "another-one", "")
    assert caught.value.hint == "aws configure set region REGION --profile work"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("setting", SETTINGS[1:])
def test_a_bucket_that_was_left_half_made_is_finished(s3: Any, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    with monkeypatch.context() as patched:
        fail(patched, setting, Killed())
        with pytest.raises(Killed):
            create_bucket(PROFILE, NAME, REGION)
    assert UNFINISHED in tags(s3)
    assert create_bucket(PROFILE, NAME, REGION)[0] == f"went on with the bucket {NAME}, which was begun before"
    assert_finished(s3)


def test_aws_is_asked_to_create_it_with_its_tags(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto ignores them, so they are put again; at AWS nobody can kill us in between."""
    seen = record(monkeypatch)
    create_bucket(PROFILE, NAME, "us-east-1")
    asked = next(arguments for operation, arguments in seen if operation == "CreateBucket")
    wanted = [{"Key": key, "Value": value} for key, value in (TAG, UNFINISHED)]
    assert asked == {"Bucket": NAME, "CreateBucketConfiguration": {"Tags": wanted}}


def test_one_who_may_not_tag_at_creation_still_gets_a_bucket(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(
        monkeypatch,
        "CreateBucket",
        refusal("AccessDenied", "CreateBucket", "not authorized to perform: s3:TagResource"),
        lambda arguments: "Tags" in arguments.get("CreateBucketConfiguration", {}),
    )
    create_bucket(PROFILE, NAME, REGION)
    assert_finished(s3)


def test_ones_own_bucket_is_not_changed(s3: Any) -> None:
    for name in (NAME, "tagged-one"):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_tagging(Bucket="tagged-one", Tagging={"TagSet": [{"Key": "team", "Value": "ml"}]})
    for name in (NAME, "tagged-one"):
        with pytest.raises(BucketExists, match="exists already, and was left as it is") as caught:
            create_bucket(PROFILE, name, REGION)
        assert f"--artifacts s3://{name}/" in caught.value.hint
        assert "Status" not in s3.get_bucket_versioning(Bucket=name)
    assert tags(s3, "tagged-one") == {("team", "ml")}
    create_bucket(PROFILE, "another-one", REGION)
    with pytest.raises(BucketExists):  # one that we made is ready: it is no half-made one
        create_bucket(PROFILE, "another-one", REGION)


@pytest.mark.parametrize("operation", ["GetBucketTagging", "CreateBucket"])
def test_somebody_elses_bucket(s3: Any, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    if operation == "CreateBucket":  # taken in the moment between
        fail(monkeypatch, operation, refusal("BucketAlreadyExists", operation))
    else:
        for denied in (operation, "ListObjectsV2"):
            fail(monkeypatch, denied, refusal("AccessDenied", denied))
    with pytest.raises(BucketTaken, match="may not use it") as caught:
        create_bucket(PROFILE, NAME, REGION)
    assert "choose another name" in caught.value.hint


def test_a_setting_that_is_denied_is_told(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, "PutBucketPolicy", refusal("AccessDenied", "PutBucketPolicy"))
    with pytest.raises(NotAllowed, match=f"cannot create the bucket {NAME}: .* may not .PutBucketPolicy is denied"):
        create_bucket(PROFILE, NAME, REGION)
    assert UNFINISHED in tags(s3)


def test_another_store_may_lack_some_settings(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"PutPublicAccessBlock": "NotImplemented", "PutBucketTagging": "MethodNotAllowed"}
    for operation, code in missing.items():
        fail(monkeypatch, operation, refusal(code, operation))
    with monkeypatch.context() as patched:
        fail(patched, "CreateBucket", AssertionError("tags"), lambda arguments: "Tags" in str(arguments))
        done = create_bucket(PROFILE, NAME, "us-east-1", "https://s3.us-east-1.amazonaws.com")
    assert "not set, because this store does not know it: private" in done
    assert "versioned: what is deleted or overwritten can be brought back" in done
    with pytest.raises(ProvisionError, match="MethodNotAllowed"):  # Amazon's knows all of them
        create_bucket(PROFILE, "another-one", "us-east-1")


def test_listing_is_denied(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert buckets(PROFILE) == []
    fail(monkeypatch, "ListBuckets", refusal("AccessDenied", "ListBuckets", "perform: s3:ListAllMyBuckets"))
    with pytest.raises(NotAllowed, match="cannot list your buckets"):
        buckets(PROFILE)


def test_the_region_of_a_bucket(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    create_bucket(PROFILE, NAME, "eu-west-1")
    assert region_of(PROFILE, NAME) == "eu-west-1"
    assert region_of(PROFILE, "no-such-bucket") == region_of("no-such-profile", NAME) == ""
    told = refusal("403", "HeadBucket")
    vars(told)["response"]["ResponseMetadata"] = {"HTTPHeaders": {"x-amz-bucket-region": "eu-north-1"}}
    fail(monkeypatch, "HeadBucket", told)
    assert region_of(PROFILE, NAME) == "eu-north-1"


@pytest.mark.parametrize("name", ["abc", "team-mlflow-2026", "0-a"])
def test_good_names(name: str) -> None:
    assert bucket_name_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ab", "3 to 63"),
        ("Team", "small letters"),
        ("a" * 64, "3 to 63"),
        ("team/ml", "prefix"),
        ("team.ml", "certificates"),
        ("xn--team", "Amazon keeps"),
        ("team-s3alias", "Amazon keeps"),
        ("team--x-s3", "Amazon keeps"),
        ("", "3 to 63"),
        ("-team", "first and last"),
    ],
)
def test_bad_names(name: str, told: str) -> None:
    assert told in bucket_name_problem(name)
    with pytest.raises(ProvisionError, match=r"."):
        create_bucket("", name, REGION)


def refusal(code: str, operation: str, message: str = "") -> Exception:
    from botocore.exceptions import ClientError

    error: Exception = ClientError({"Error": {"Code": code, "Message": message}}, operation)
    return error


def fail(patched: pytest.MonkeyPatch, operation: str, error: BaseException, when: Any = lambda arguments: True) -> None:
    """Every call of this operation ends so."""
    from botocore.client import BaseClient

    call = BaseClient._make_api_call

    def failing(self: Any, name: str, arguments: dict[str, Any]) -> Any:
        if name == operation and when(arguments):
            raise error
        return call(self, name, arguments)

    patched.setattr(BaseClient, "_make_api_call", failing)


def record(patched: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    from botocore.client import BaseClient

    call = BaseClient._make_api_call
    seen: list[tuple[str, dict[str, Any]]] = []

    def recording(self: Any, name: str, arguments: dict[str, Any]) -> Any:
        seen.append((name, arguments))
        return call(self, name, arguments)

    patched.setattr(BaseClient, "_make_api_call", recording)
    return seen
