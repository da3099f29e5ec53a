from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Context
from mlflow_provision.agent.resources.store_access import StoreAccess
from mlflow_provision.agent.s3.probe import NAME
from tests.agent.fake_s3 import ACTIONS, FakeS3, serve

SECRETS = ("access-key-canary", "secret-canary", "token-canary")


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with serve(FakeS3()) as server:
        yield server


@pytest.fixture
def access(fake: FakeS3, tmp_path: Path) -> StoreAccess:
    state = str(tmp_path / "deployment.json")
    return StoreAccess("store", "s3://bucket/some/prefix", "", fake.endpoint, *SECRETS, state)


def prove(access: StoreAccess) -> list[str]:
    lines: list[str] = []
    access.apply(Context(output=lines.append))
    return lines


def failure(access: StoreAccess) -> AgentError:
    lines: list[str] = []
    with pytest.raises(AgentError) as caught:
        access.apply(Context(output=lines.append))
    error = caught.value
    assert error.kind == "store" and error.hint
    assert not [secret for secret in SECRETS if secret in error.message + error.hint + "".join(lines) + repr(access)]
    return error


# What is remembered.


def test_proves_once_per_destination_and_credentials(access: StoreAccess) -> None:
    assert access.title == "access to s3://bucket/some/prefix"
    change = access.check(Context())
    assert change is not None and change.summary == "prove put, get, list and delete"
    Path(access.state).write_text(json.dumps({"store_proof": access.proof()}))
    assert access.check(Context()) is None
    for name in ("destination", "region", "endpoint_url", "access_key_id", "secret_access_key", "session_token"):
        other: Any = {name: "other"}
        assert replace(access, **other).check(Context()) is not None


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"store_proof": ""}'])
def test_a_record_that_proves_nothing(access: StoreAccess, text: str) -> None:
    Path(access.state).write_text(text)
    assert access.check(Context()) is not None


# What is allowed.


@pytest.mark.parametrize("destination", ["s3://bucket", "s3://bucket/", "s3://bucket/p", "s3://bucket/a b/ü/"])
def test_everything_works_and_nothing_is_left(fake: FakeS3, access: StoreAccess, destination: str) -> None:
    assert prove(replace(access, destination=destination)) == ["delete: ok", "put: ok", "list: ok", "get: ok"]
    assert fake.objects == {}


SUBSETS = [set(subset) for count in range(1, 5) for subset in combinations(sorted(ACTIONS), count)]


@pytest.mark.parametrize("names_actions", [False, True])
@pytest.mark.parametrize("denied", SUBSETS, ids=lambda denied: "-".join(sorted(denied)))
def test_names_every_missing_permission_and_leaves_nothing(
    fake: FakeS3, access: StoreAccess, denied: set[str], names_actions: bool
) -> None:
    fake.denied, fake.names_actions = denied, names_actions
    lines = failure(access).message.split("\n")
    assert lines[0] == "the access key lacks permissions on s3://bucket/some/prefix:"
    arns = dict.fromkeys(ACTIONS.values(), "arn:aws:s3:::bucket/some/prefix/*") | {
        "s3:ListBucket": "arn:aws:s3:::bucket"
    }
    missing = {ACTIONS[name] for name in denied}
    # Without an object to get, S3 does not tell whether get is allowed, unless it names what is denied.
    silent = "GET" in denied and not names_actions
    hidden = bool(denied & {"PUT", "DELETE"}) and (silent or ("LIST" in denied and "GET" not in denied))
    certain = missing - {"s3:GetObject"} if hidden else missing
    assert {line.strip() for line in lines[1:] if "perhaps" not in line} == {
        f"{name} on {arns[name]}" for name in certain
    }
    assert any("perhaps s3:GetObject" in line for line in lines) == hidden
    assert fake.objects == {}


# A place for backups from which nothing may be deleted.


@pytest.fixture
def append_only(fake: FakeS3, access: StoreAccess) -> StoreAccess:
    fake.denied = {"DELETE"}
    return replace(access, section="backup", append_only=True)


def test_nothing_is_deleted_where_nothing_may_be(fake: FakeS3, append_only: StoreAccess) -> None:
    told = prove(append_only)
    assert told[:3] == ["put: ok", "list: ok", "get: ok"]
    (key,) = fake.objects
    assert told[3:] == [f"nothing is deleted there: {key} stays"]
    assert not [line for line in fake.seen if line.startswith("DELETE")]
    prove(append_only)
    assert len(fake.objects) == 2  # never the same name: a policy may forbid to write over an object


def test_it_is_proved_apart_from_the_artifacts(append_only: StoreAccess) -> None:
    change = append_only.check(Context())
    assert change is not None and change.summary == "prove put, get and list"
    Path(append_only.state).write_text(json.dumps({"store_proof": append_only.proof()}))
    assert append_only.check(Context()) is not None
    Path(append_only.state).write_text(json.dumps({"backup_proof": append_only.proof()}))
    assert append_only.check(Context()) is None
    assert replace(append_only, append_only=False).check(Context()) is not None


@pytest.mark.parametrize("denied", [{"PUT"}, {"LIST"}, {"GET"}, {"PUT", "LIST", "GET"}])
def test_what_it_lacks_is_named_and_delete_is_not(fake: FakeS3, append_only: StoreAccess, denied: set[str]) -> None:
    fake.denied = {*denied, "DELETE"}
    message = failure(append_only).message
    assert "s3:DeleteObject" not in message
    assert all(ACTIONS[one] in message for one in denied - {"GET"})
    assert ACTIONS["GET"] in message or "GET" not in denied


def test_hints_are_about_its_part_of_the_deployment_file(fake: FakeS3, append_only: StoreAccess) -> None:
    fake.region = "eu-west-3"
    assert '[backup] region = "eu-west-3"' in failure(replace(append_only, region="eu-west-1")).hint


def test_all_denied_may_be_another_ones_bucket(fake: FakeS3, access: StoreAccess) -> None:
    fake.denied = set(ACTIONS)
    assert "is bucket your bucket?" in failure(access).hint


def test_the_key_that_encrypts_the_bucket(fake: FakeS3, access: StoreAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.denied, fake.names_actions = {"PUT"}, True
    monkeypatch.setitem(ACTIONS, "PUT", "kms:GenerateDataKey")
    assert "kms:GenerateDataKey on the key that encrypts the bucket" in failure(access).message


def test_an_object_that_cannot_be_removed_is_not_put_unless_the_store_ignores_checksums(
    fake: FakeS3, access: StoreAccess
) -> None:
    fake.denied, fake.checks_md5 = {"DELETE"}, False
    (left,) = [line for line in failure(access).message.split("\n") if "stays" in line]
    (key,) = fake.objects
    assert key in left and "by hand" in left


def test_a_versioned_bucket_keeps_nothing_either(fake: FakeS3, access: StoreAccess) -> None:
    fake.versioned = True
    prove(access)
    assert not fake.objects and not fake.history


def test_a_versioned_bucket_whose_history_we_may_not_touch(fake: FakeS3, access: StoreAccess) -> None:
    fake.versioned, fake.denied = True, {"FORGET"}
    assert "stays in its history" in prove(access)[-1]
    assert fake.objects == {}


def test_takes_away_what_a_killed_run_left(fake: FakeS3, access: StoreAccess) -> None:
    fake.objects = {f"some/prefix/{NAME}old": b"", f"some/prefix/{NAME[1:]}": b"", "some/prefix/1/run": b""}
    fake.put_at = "2020-01-01T00:00:00.000Z"
    prove(access)
    assert sorted(fake.objects) == ["some/prefix/1/run", f"some/prefix/{NAME[1:]}"]


def test_leaves_what_somebody_else_may_be_using(fake: FakeS3, access: StoreAccess) -> None:
    fake.objects = {f"some/prefix/{NAME}new": b""}
    fake.put_at = "2999-01-01T00:00:00.000Z"
    prove(access)
    assert len(fake.objects) == 1


def test_the_store_gives_something_else_back(fake: FakeS3, access: StoreAccess) -> None:
    def corrupt(operation: str) -> None:
        fake.objects = dict.fromkeys(fake.objects, b"else")

    fake.before = corrupt
    with pytest.raises(AgentError, match="differs from what was put"):
        prove(access)
    assert fake.objects == {}


# What concerns every request.


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ((403, "InvalidAccessKeyId"), "the access key id is wrong"),
        ((403, "SignatureDoesNotMatch"), "the secret access key is wrong"),
        ((400, "InvalidToken"), "the session token is wrong"),
        ((400, "ExpiredToken"), "the session token has expired"),
        ((403, "RequestTimeTooSkewed"), "ahead of the store's"),
        ((404, "NoSuchBucket"), "there is no such bucket"),
    ],
)
def test_one_clear_reason(fake: FakeS3, access: StoreAccess, error: tuple[int, str], words: str) -> None:
    fake.error = error
    assert words in failure(access).message
    assert len(fake.seen) == 1


def test_an_error_nobody_has_heard_of(fake: FakeS3, access: StoreAccess) -> None:
    fake.error = (503, "SlowDown")
    with pytest.raises(AgentError, match="bucket bucket: SlowDown"):
        prove(access)


def test_wrong_region(fake: FakeS3, access: StoreAccess) -> None:
    fake.region = "eu-west-1"
    error = failure(replace(access, region="us-east-1"))
    assert error.message == "bucket bucket is in eu-west-1, not us-east-1"
    assert error.hint == 'set [artifacts] region = "eu-west-1"'
    assert fake.objects == {}


def test_a_region_nobody_asked_for_is_found(fake: FakeS3, access: StoreAccess) -> None:
    fake.region = "eu-west-1"
    prove(access)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [("http://127.0.0.1:9", "nothing listens"), ("http://nowhere.invalid", "cannot resolve the name nowhere.invalid")],
)
def test_unreachable(access: StoreAccess, endpoint: str, words: str) -> None:
    error = failure(replace(access, endpoint_url=endpoint))
    assert words in error.message and "endpoint_url" in error.hint


def test_no_tls(fake: FakeS3, access: StoreAccess) -> None:
    error = failure(replace(access, endpoint_url=fake.endpoint.replace("http:", "https:")))
    assert "does not speak TLS" in error.message and "http://" in error.hint


def test_no_instance_role(access: StoreAccess) -> None:
    keyless: dict[str, Any] = {"access_key_id": "", "secret_access_key": "", "session_token": ""}
    error = failure(replace(access, **keyless, metadata_url="http://127.0.0.1:9"))
    assert "this host has no instance role" in error.message


def test_not_s3(access: StoreAccess) -> None:
    with pytest.raises(AgentError, match="s3://bucket/prefix"):
        prove(replace(access, destination="gs://bucket"))
