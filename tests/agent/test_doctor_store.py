"""The store, its clock and the credentials for it: an S3 that denies what a test says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.http import Client, NoAnswer, Response
from tests.agent.doctor_ward import Ward
from tests.agent.fake_s3 import FakeS3, serve


@pytest.fixture
def s3() -> Iterator[FakeS3]:
    with serve(FakeS3()) as fake:
        yield fake


@pytest.fixture
def ward(tmp_path: Path, s3: FakeS3) -> Ward:
    ward = Ward(tmp_path)
    ward.on_s3(s3.endpoint)
    return ward


def assert_finding(ward: Ward, check: str, verdict: str, *words: str) -> dict[str, Any]:
    found = ward.alone(check)
    assert found["verdict"] == verdict, found
    for word in words:
        assert word in found["evidence"], found
    assert "SECRET-OF-AWS" not in repr(found)
    return found


def test_a_store_that_is_well(ward: Ward, s3: FakeS3) -> None:
    found = assert_finding(ward, "store", "ok", "s3://bucket/p: ", "(keys: file)")
    assert found["data"]["permissions"] == {"put": "ok", "get": "ok", "list": "ok", "delete": "ok"}
    assert s3.objects == {}
    assert_finding(ward, "credentials-partial", "ok")
    assert_finding(ward, "profile-mismatch", "ok", "profile default", "key AKID")


@pytest.mark.parametrize("operation", ["PUT", "GET", "LIST", "DELETE"])
def test_a_permission_that_is_missing(ward: Ward, s3: FakeS3, operation: str) -> None:
    s3.denied = {operation}
    actions = {"PUT": "s3:PutObject", "GET": "s3:GetObject", "LIST": "s3:ListBucket", "DELETE": "s3:DeleteObject"}
    found = assert_finding(ward, "store", "bad", actions[operation], f"{operation.lower()} denied")
    assert "IAM policy" in found["data"]["remedy"]
    assert s3.objects == {}


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "InvalidAccessKeyId", "the access key id is wrong"),
        (403, "SignatureDoesNotMatch", "the secret access key is wrong"),
        (403, "RequestTimeTooSkewed", "the host's clock is wrong"),
        (404, "NoSuchBucket", "there is no such bucket"),
        (400, "ExpiredToken", "the session token has expired"),
    ],
)
def test_what_a_store_refuses_altogether(ward: Ward, s3: FakeS3, status: int, code: str, words: str) -> None:
    s3.error = (status, code)
    assert_finding(ward, "store", "bad", words)


def test_a_bucket_in_another_region(ward: Ward, s3: FakeS3) -> None:
    s3.region = "eu-west-1"
    found = assert_finding(ward, "store", "bad", "is in eu-west-1, not us-east-1")
    assert "eu-west-1" in found["data"]["remedy"]


def test_a_store_that_cannot_be_reached(ward: Ward) -> None:
    ward.environment(MLFLOW_S3_ENDPOINT_URL="http://127.0.0.1:9")
    found = assert_finding(ward, "store", "bad", "cannot reach the store", "refused")
    assert "endpoint_url" in found["data"]["remedy"]


def test_the_keys_that_the_server_uses_are_tried(ward: Ward, s3: FakeS3) -> None:
    ward.environment(AWS_ACCESS_KEY_ID="OTHER", AWS_SECRET_ACCESS_KEY="OTHER-SECRET")
    found = assert_finding(ward, "store", "ok", "(keys: environment)")
    assert "OTHER-SECRET" not in repr(found)


def test_a_host_without_a_role(ward: Ward) -> None:
    ward.write_keys("")
    ward.data["metadata_url"] = "http://127.0.0.1:9"
    assert_finding(ward, "store", "bad", "no credentials for the artifact store")


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    assert_finding(ward, "store", "ok")
    ward.artifacts.rmdir()
    assert_finding(ward, "store", "bad", "there is no folder")


def test_a_folder_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ward = Ward(tmp_path)

    def refuse(path: str, flags: int, mode: int = 0) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    assert_finding(ward, "store", "bad", "nothing can be put there: Permission denied")


# Credentials


def test_one_fault_is_one_finding(ward: Ward) -> None:
    ward.write_keys("[default]\naws_access_key_id = AKID\n")
    found = ward.look("artifact-roundtrip", "store", "credentials-partial", "profile-mismatch")
    of_the_store = {name: found[name]["verdict"] for name in ("store", "credentials-partial", "profile-mismatch")}
    assert of_the_store == {"store": "skipped", "credentials-partial": "bad", "profile-mismatch": "ok"}
    assert found["store"]["data"] == {"because": "credentials-partial"}
    ward.write_keys("[other]\naws_access_key_id = A\naws_secret_access_key = B\n")
    found = ward.look("store", "credentials-partial", "profile-mismatch")
    assert (found["store"]["verdict"], found["profile-mismatch"]["verdict"]) == ("skipped", "bad")


def test_half_of_a_key_in_the_file(ward: Ward) -> None:
    ward.write_keys("[default]\naws_access_key_id = AKID\n[other]\naws_secret_access_key = SECRET-OF-AWS\n")
    assert_finding(
        ward, "credentials-partial", "bad", "profile default", "aws_access_key_id without aws_secret_access_key"
    )


def test_half_of_a_key_of_a_profile_that_nobody_uses(ward: Ward) -> None:
    ward.write_keys("[default]\naws_access_key_id = A\naws_secret_access_key = B\n[other]\naws_access_key_id = C\n")
    assert_finding(ward, "credentials-partial", "warn", "profile other", "not used")


def test_half_of_a_key_in_the_environment(ward: Ward) -> None:
    ward.environment(AWS_SECRET_ACCESS_KEY="SECRET-OF-AWS-2")
    found = assert_finding(ward, "credentials-partial", "bad", "the server's environment has aws_secret_access_key")
    assert "SECRET-OF-AWS-2" not in repr(found)


def test_a_profile_that_is_not_in_the_file(ward: Ward) -> None:
    ward.environment(AWS_PROFILE="basketworld")
    found = assert_finding(ward, "profile-mismatch", "bad", "uses the profile basketworld", "it has: default")
    assert found["data"]["fix"] == "apply"


def test_another_profile_than_the_deployment_file_names(ward: Ward) -> None:
    ward.data["artifacts"]["profile"] = "basketworld"
    assert_finding(ward, "profile-mismatch", "bad", "profile default", "names basketworld")


def test_a_key_in_the_environment_stands_before_the_profile(ward: Ward) -> None:
    ward.environment(AWS_ACCESS_KEY_ID="OTHER", AWS_SECRET_ACCESS_KEY="OTHER-SECRET")
    assert_finding(ward, "profile-mismatch", "bad", "AWS_ACCESS_KEY_ID=OTHER", "not the profile default")


def test_a_key_in_a_file_stands_before_the_role(ward: Ward) -> None:
    ward.data["artifacts"].update(credentials="instance-role", profile="")
    assert_finding(ward, "profile-mismatch", "bad", "has a key (AKID), which boto3 takes before the instance's role")
    ward.write_keys("")
    ward.environment(AWS_PROFILE="")
    assert_finding(ward, "profile-mismatch", "ok")


def test_no_bucket_no_credentials(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    for check in ("credentials-partial", "profile-mismatch", "clock"):
        assert_finding(ward, check, "skipped")


# The clock


@pytest.mark.parametrize(
    ("seconds", "verdict", "words"),
    [(3, "ok", ""), (-90, "warn", "behind"), (900, "bad", "15 minutes ahead"), (-90_000, "bad", "25 hours behind")],
)
def test_the_clock_of_the_store(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, seconds: float, verdict: str, words: str
) -> None:
    def call(self: Client, method: str, path: str, **more: Any) -> Response:
        return Response(403, {"date": formatdate(time.time() - seconds, usegmt=True)}, b"")

    monkeypatch.setattr(Client, "call", call)
    assert_finding(ward, "clock", verdict, words)


def test_a_clock_so_wrong_that_no_certificate_is_valid(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def call(self: Client, method: str, path: str, **more: Any) -> Response:
        asked.append(self.url)
        if self.url.startswith("https"):
            raise NoAnswer("tls", "certificate is not yet valid")
        return Response(403, {"date": formatdate(time.time() + 1e8, usegmt=True)}, b"")

    monkeypatch.setattr(Client, "call", call)
    ward.environment(MLFLOW_S3_ENDPOINT_URL="https://store.example.com")
    assert_finding(ward, "clock", "bad", "days behind")
    assert asked == ["https://store.example.com", "http://store.example.com"]


def test_a_store_that_does_not_say_the_time(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "call", lambda self, method, path: Response(200, {}, b""))
    assert_finding(ward, "clock", "skipped", "does not say what time it is")


# Backups


def test_the_place_for_backups(ward: Ward, s3: FakeS3) -> None:
    place = {"region": "us-east-1", "endpoint_url": s3.endpoint, "access_key_id": "A", "secret_access_key": "B"}
    ward.data["backup"].update(destination="s3://bucket/b", scheduled=True, has_keys=True, place=place)
    assert_finding(ward, "backup-store", "ok", "s3://bucket/b")
    s3.denied = {"DELETE"}
    assert_finding(ward, "backup-store", "bad", "s3:DeleteObject")
    ward.data["backup"]["append_only"] = True
    assert_finding(ward, "backup-store", "ok", "nothing may be deleted there")
    assert s3.objects == {}
    s3.denied = {"DELETE", "PUT"}
    assert_finding(ward, "backup-store", "bad", "s3:PutObject")


def test_the_keys_of_the_scheduled_job_are_used(ward: Ward, s3: FakeS3) -> None:
    ward.data["backup"].update(destination="s3://bucket/b", scheduled=True, has_keys=True, place={})
    assert_finding(ward, "backup-store", "skipped", "not on the host")
    place = {
        "region": "us-east-1",
        "endpoint_url": s3.endpoint,
        "access_key_id": "A",
        "secret_access_key": "hidden-key",
    }
    ward.write_job({"settings": {"place": place}})
    found = assert_finding(ward, "backup-store", "ok")
    assert "hidden-key" not in repr(found)
