"""A bucket that is not what it should be, for artifacts and for backups: doctor says what is wrong with it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.aws.policy import policy
from tests.e2e.buckets import keys_in_profile, keys_of
from tests.e2e.doctored import examine, finds
from tests.e2e.prepared import Prepared
from tests.e2e.served import NAME, Served
from tests.e2e.warped import unreachable, warped
from tests.lab import Keys, MotoS3
from tests.lab.s3 import LIKE_AWS, REGION

ARTIFACTS, BACKUPS = "s3://team/ml", "s3://team/backups"
LEAST = policy(ARTIFACTS, BACKUPS)
USER, PROFILE = "server", "work"
CREDENTIALS = f"/opt/mlflow/{NAME}/etc/aws/credentials"
BOTH = {"store", "backup-store"}
ACTIONS = ("s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject")


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    with MotoS3(enforce_iam=True, program=LIKE_AWS) as server:
        server.create_bucket("team")
        yield server


@pytest.fixture(scope="module")
def patient(set_up: Prepared, s3: MotoS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that keeps its artifacts in the bucket, and its backups."""
    with set_up.copy(tmp_path_factory.mktemp("home") / "operator") as served:
        to_bucket(served, s3)
        yield served


def to_bucket(served: Served, s3: MotoS3) -> None:
    """With the keys of a profile, which may do what is needed and no more."""
    keys_in_profile(served.operator, PROFILE, s3.create_user(USER, LEAST))
    access = ("--endpoint-url", s3.endpoint, "--region", REGION, "--aws-profile", PROFILE)
    served.operator.run("setup", NAME, "--yes", "--artifacts", ARTIFACTS, "--artifacts-moved", *access)
    served.operator.run("backup", "schedule", NAME, "--to", BACKUPS, *access, "--yes")
    served.operator.run("backup", "now", NAME)


@contextmanager
def allowed(s3: MotoS3, document: dict[str, Any]) -> Iterator[None]:
    """Within the block the server's user may do this."""
    iam = s3.client("iam")
    iam.put_user_policy(UserName=USER, PolicyName="lab", PolicyDocument=json.dumps(document))
    try:
        yield
    finally:
        iam.put_user_policy(UserName=USER, PolicyName="lab", PolicyDocument=json.dumps(LEAST))


def without(action: str) -> dict[str, Any]:
    """The least that is needed, less one action."""
    less = copy.deepcopy(LEAST)
    objects, listing = less["Statement"]
    if action == "s3:ListBucket":
        less["Statement"].remove(listing)
    else:
        objects["Action"].remove(action)
    return less


def test_nothing_is_found_and_nothing_is_left_in_the_bucket(patient: Served, s3: MotoS3) -> None:
    before = keys_of(s3.client(), "team")
    for _ in range(2):
        found = examine(patient.operator, code=0)
        assert (found.bad, found.warned) == (set(), set())
        ran = ("store", "clock", "credentials-partial", "profile-mismatch", "artifact-roundtrip", "backup-store")
        assert {found.verdict(check) for check in ran} == {"ok"}
    assert keys_of(s3.client(), "team") == before != []


@pytest.mark.parametrize("action", ACTIONS)
@finds("store", "backup-store")
def test_a_permission_is_missing(patient: Served, s3: MotoS3, action: str) -> None:
    before = keys_of(s3.client(), "team")
    with allowed(s3, without(action)):
        found = examine(patient.operator)
    assert (found.bad, found.warned) == (BOTH, set())
    assert found.verdict("artifact-roundtrip") == "skipped"  # it would say the same
    for check, place in (("store", ARTIFACTS), ("backup-store", BACKUPS)):
        evidence = found.of(check)["evidence"]
        assert place in evidence
        assert re.findall(r"^  (s3:\w+) on", evidence, re.MULTILINE) == [action], evidence  # others only perhaps
    assert keys_of(s3.client(), "team") == before


@finds("backup-store")
def test_a_place_where_nothing_may_be_deleted(patient: Served, s3: MotoS3) -> None:
    """It is asked without putting anything there: nobody could remove it again."""
    patient.operator.run("backup", "schedule", NAME, "--append-only", "--yes")
    appends = policy(ARTIFACTS, BACKUPS, append_only=True)
    before = keys_of(s3.client(), "team")
    with allowed(s3, appends):
        found = examine(patient.operator, code=0)
        assert found.verdict("backup-store") == "ok"
    less = copy.deepcopy(appends)
    for statement in less["Statement"]:
        if statement["Sid"] == "Backups":
            statement["Action"].remove("s3:PutObject")
    with allowed(s3, less):
        found = examine(patient.operator)
        assert (found.bad, found.warned) == ({"backup-store"}, set())
        assert "s3:PutObject" in found.of("backup-store")["evidence"]
    assert keys_of(s3.client(), "team") == before
    patient.operator.run("backup", "schedule", NAME, "--no-append-only", "--yes")


@finds("clock", "store")
def test_a_clock_that_is_off(patient: Served, s3: MotoS3) -> None:
    with warped(patient.host, s3.endpoint) as warp:
        assert examine(patient.operator, code=0).warned == set()
        assert any(request.startswith("PUT /team/ml/") for request in warp.asked)
        warp.skew = 120
        found = examine(patient.operator, code=0)
        assert (found.bad, found.warned) == (set(), {"clock"})
        assert "behind" in found.of("clock")["evidence"]
        warp.skew = -7200
        found = examine(patient.operator)
        assert (found.bad, found.warned) == ({"clock", *BOTH}, set())
        assert "2 hours ahead" in found.of("clock")["evidence"]
        assert "clock" in found.of("store")["evidence"]


@finds("store", "backup-store")
def test_a_bucket_in_another_region_and_one_that_cannot_be_reached(patient: Served, s3: MotoS3) -> None:
    with warped(patient.host, s3.endpoint) as warp:
        warp.region = "eu-central-1"
        found = examine(patient.operator)
        assert found.bad - {"artifact-roundtrip"} == BOTH
        for check in BOTH:
            assert "eu-central-1" in found.of(check)["evidence"], found.of(check)
    with unreachable(patient.host, s3.endpoint):
        found = examine(patient.operator)
        assert (found.bad, found.warned) == (BOTH, set())
        assert (found.verdict("clock"), found.verdict("artifact-roundtrip")) == ("skipped", "skipped")
        assert "refused" in found.of("store")["evidence"]
    examine(patient.operator, code=0)


@finds("store", "drift")
def test_a_wrong_secret_is_put_right(patient: Served, s3: MotoS3) -> None:
    path, right = patient.host.path(CREDENTIALS), aws_keys(patient)
    path.write_text(path.read_text().replace(right.secret, "canary-wrong-secret"))
    found = examine(patient.operator)
    assert (found.bad, found.warned) == ({"store", "drift"}, set())
    assert "secret access key is wrong" in found.of("store")["evidence"]
    mended = examine(patient.operator, "--fix", "--yes", code=0)
    assert (mended.bad, mended.warned) == (set(), set())
    assert right.secret in path.read_text()


@finds("store", "backup-store")
def test_a_key_that_was_deleted_and_a_bucket_that_is_gone(patient: Served, s3: MotoS3) -> None:
    iam, old = s3.client("iam"), aws_keys(patient)
    iam.delete_access_key(UserName=USER, AccessKeyId=old.key)
    found = examine(patient.operator)
    assert (found.bad, found.warned) == (BOTH, set())
    assert "access key id is wrong" in found.of("store")["evidence"]
    made = iam.create_access_key(UserName=USER)["AccessKey"]
    keys_in_profile(patient.operator, PROFILE, Keys(made["AccessKeyId"], made["SecretAccessKey"]))
    mended = examine(patient.operator, "--fix", "--yes", code=0)
    assert (mended.bad, mended.warned) == (set(), set())

    client = s3.client()
    for key in keys_of(client, "team"):
        client.delete_object(Bucket="team", Key=key)
    client.delete_bucket(Bucket="team")
    found = examine(patient.operator)
    assert (found.bad, found.warned) == (BOTH, set())
    assert "no such bucket" in found.of("store")["evidence"]
    s3.create_bucket("team")
    examine(patient.operator, code=0)


def test_no_key_was_shown(patient: Served) -> None:
    shown = "".join(patient.operator.shown)
    text = Path(patient.operator.config / f"{NAME}.secrets.toml").read_text()
    secrets = [line.split('"')[1] for line in text.splitlines() if '"' in line]
    assert secrets
    for secret in (aws_keys(patient).secret, "canary-wrong-secret", *secrets):
        assert secret not in shown


def aws_keys(patient: Served) -> Keys:
    """Those that the server has."""
    text = patient.host.path(CREDENTIALS).read_text()
    found = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)
    return Keys(found["aws_access_key_id"], found["aws_secret_access_key"])
