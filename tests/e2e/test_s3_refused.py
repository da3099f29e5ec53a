"""A bucket that cannot be used: the verdict names what is missing, and nothing was installed on the blank host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.buckets import ACTIONS, keys_in_environment, keys_of, policy
from tests.e2e.instance_metadata import no_metadata
from tests.e2e.operator import Operator, on
from tests.e2e.traces import untouched
from tests.lab import Keys, LabHost, MotoS3, RcloneS3


@pytest.fixture
def operator(host: LabHost, tmp_path: Path) -> Operator:
    return Operator(tmp_path, host.ssh_config)


@pytest.fixture(scope="module")
def strict_s3() -> Iterator[MotoS3]:
    with MotoS3(enforce_iam=True) as server:
        server.create_bucket("team")
        yield server


def refused(host: LabHost, operator: Operator, place: str, endpoint: str) -> str:
    """The setup ends at the proof; nothing was installed."""
    where = ("--artifacts", place, "--endpoint-url", endpoint, "--aws-keys")
    with untouched(host):
        return operator.refused("setup", on(host), "--yes", *where)


@pytest.mark.parametrize("missing", ACTIONS)
def test_one_permission_is_missing(host: LabHost, operator: Operator, strict_s3: MotoS3, missing: str) -> None:
    keys_in_environment(operator, strict_s3.create_user(f"without-{missing}", policy("team", missing)))
    said = refused(host, operator, "s3://team/ml", strict_s3.endpoint)
    action, resource = ACTIONS[missing]
    assert "the access key lacks permissions on s3://team/ml:" in said
    assert f"  {action} on {resource.format(bucket='team')}" in said
    assert [name for name, _ in ACTIONS.values() if name in said] == [action]
    assert "Next: allow them in the IAM policy" in said
    # Nobody who may not delete can put and leave nothing: AWS is asked with a wrong checksum, which moto does not mind.
    left = keys_of(strict_s3.client(), "team")
    assert len(left) == (1 if missing == "delete" else 0)
    for key in left:
        assert f"remove {key} by hand" in said
        strict_s3.client().delete_object(Bucket="team", Key=key)


def test_the_prefix_is_denied(host: LabHost, operator: Operator, strict_s3: MotoS3) -> None:
    """All is allowed under /ml, and nothing elsewhere."""
    keys_in_environment(operator, strict_s3.create_user("ml-only", policy("team", "")))
    said = refused(host, operator, "s3://team/elsewhere", strict_s3.endpoint)
    for action in ("s3:PutObject", "s3:GetObject", "s3:DeleteObject"):
        assert f"{action} on arn:aws:s3:::team/elsewhere/*" in said
    keys_in_environment(operator, strict_s3.create_user("nothing", policy("other", "")))
    said = refused(host, operator, "s3://team/ml", strict_s3.endpoint)
    for action, _ in ACTIONS.values():
        assert action in said


def test_no_such_bucket(host: LabHost, operator: Operator, strict_s3: MotoS3, rclone_s3: RcloneS3) -> None:
    for server in (strict_s3, rclone_s3):
        keys_in_environment(operator, server.keys)
        said = refused(host, operator, "s3://no-such-bucket/ml", server.endpoint)
        assert "bucket no-such-bucket: there is no such bucket" in said
        assert "Next: create it, or correct [artifacts] destination" in said


def test_a_wrong_key_id_and_a_wrong_secret(
    host: LabHost, operator: Operator, strict_s3: MotoS3, rclone_s3: RcloneS3
) -> None:
    rclone_s3.create_bucket("keys")
    keys_in_environment(operator, Keys("AKIAWRONG", rclone_s3.secret))
    said = refused(host, operator, "s3://keys/ml", rclone_s3.endpoint)
    assert "the access key id is wrong: the store does not know it" in said
    keys_in_environment(operator, Keys("AKIAWRONG", "wrong-secret"))
    said = refused(host, operator, "s3://team/ml", strict_s3.endpoint)
    assert "the access key id is wrong" in said
    for server, bucket in ((rclone_s3, "keys"), (strict_s3, "team")):
        keys_in_environment(operator, Keys(server.keys.key, "wrong-secret"))
        said = refused(host, operator, f"s3://{bucket}/ml", server.endpoint)
        assert "the secret access key is wrong; its access key id is known" in said
    assert "wrong-secret" not in "".join(operator.shown)


def test_a_store_that_does_not_answer(host: LabHost, operator: Operator) -> None:
    keys_in_environment(operator, Keys("key", "secret"))
    said = refused(host, operator, "s3://team/ml", f"http://{host.network.gateway}:9")
    assert "cannot reach the store of s3://team/ml" in said
    assert "endpoint_url" in said


def test_an_instance_without_a_role(host: LabHost, operator: Operator) -> None:
    with no_metadata(host), untouched(host):
        said = operator.refused("setup", on(host), "--yes", "--artifacts", "s3://team/ml", "--instance-role")
    assert "this host has no instance role" in said
    assert "attach an instance role" in said
