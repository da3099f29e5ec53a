"""The printed policy, enforced: a server, its verification and its backups live under it, and need all of it.

The S3 server judges each object and the condition on s3:prefix as AWS does (tests/lab/aws.py says what it cannot).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.aws.policy import OBJECT_ACTIONS, policy
from mlflow_provision.config import Artifacts, Deployment, Secrets
from mlflow_provision.errors import ProvisionError
from mlflow_provision.host import Host
from mlflow_provision.host.ssh import SshHost
from mlflow_provision.provision import instance_role, try_store
from tests.e2e import instance_metadata
from tests.e2e.buckets import keys_in_environment, keys_in_profile, keys_of
from tests.e2e.instance_metadata import no_metadata
from tests.e2e.operator import Operator, on
from tests.e2e.traces import untouched
from tests.lab import Keys, LabHost, MotoS3
from tests.lab.s3 import LIKE_AWS

ARTIFACTS = "s3://team/ml"
BACKUPS = "s3://team/backups/server"
LEAST = policy(ARTIFACTS, BACKUPS)
PLACES = {"artifacts": ARTIFACTS, "backups": BACKUPS}
PART = 8 << 20  # bytes; boto3 uploads what is larger in parts


@pytest.fixture(scope="module")
def host(stocked_host: LabHost) -> LabHost:
    return stocked_host


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    with MotoS3(enforce_iam=True, program=LIKE_AWS) as server:
        server.create_bucket("team")
        yield server


@pytest.fixture(scope="module")
def reached(host: LabHost) -> Iterator[SshHost]:
    """One connection for all tests: whatever was refused before, the host can be asked again."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_PROVISION_SSH_CONFIG", str(host.ssh_config))
        connection = SshHost(on(host))
        yield connection
        connection.close()


def without(action: str, place: str = "") -> dict[str, Any]:
    """The policy less one action, everywhere or in one place only."""
    less = copy.deepcopy(LEAST)
    objects, listing = less["Statement"]
    if action == "s3:ListBucket":
        prefixes = listing["Condition"]["StringLike"]["s3:prefix"]
        prefixes.remove(f"{place.removeprefix('s3://team/')}/*")
    else:
        here = f"arn:aws:s3:::{place.removeprefix('s3://')}/*"
        objects["Resource"].remove(here)
        rest = [one for one in objects["Action"] if one != action]
        less["Statement"].append({**objects, "Sid": "Less", "Action": rest, "Resource": [here]})
    return less


def can_use(reached: Host, s3: MotoS3, keys: Keys, place: str) -> None:
    artifacts = Artifacts(place, "us-east-1", s3.endpoint, "keys")
    secrets = Secrets(aws_access_key_id=keys.key, aws_secret_access_key=keys.secret)
    try_store(reached, Deployment("server", "host", artifacts=artifacts), secrets)


def denied(reached: Host, s3: MotoS3, keys: Keys, place: str) -> str:
    with pytest.raises(ProvisionError) as caught:
        can_use(reached, s3, keys, place)
    assert caught.value.hint
    assert keys.secret not in caught.value.message + caught.value.hint
    return caught.value.message


def test_a_host_is_asked_before_anything_is_installed(host: LabHost, reached: SshHost, s3: MotoS3) -> None:
    """Wrong answers are answered, and the next attempt goes over the same connection."""
    good = s3.create_user("first", LEAST)
    link = reached.open()
    with untouched(host):
        with no_metadata(host):
            name, reason = instance_role(reached)
            assert name == "" and "not an EC2 instance" in reason
        assert "the secret access key is wrong" in denied(reached, s3, Keys(good.key, "not-the-secret"), ARTIFACTS)
        assert "the access key id is wrong" in denied(reached, s3, Keys("AKIAWRONG", "not-the-secret"), ARTIFACTS)
        assert "there is no such bucket" in denied(reached, s3, s3.keys, "s3://no-such-bucket/ml")
        with instance_metadata.instance_role(host, good) as metadata:
            assert instance_role(reached) == (metadata.role, "")
        can_use(reached, s3, good, ARTIFACTS)
    assert reached.open() is link
    assert keys_of(s3.client(), "team") == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("action", ["s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"])
def test_one_action_less_is_too_few(reached: Host, s3: MotoS3, action: str, place: str) -> None:
    keys = s3.create_user(f"{place}-without-{action[3:]}", without(action, PLACES[place]))
    said = denied(reached, s3, keys, PLACES[place])
    assert f"  {action} on arn:aws:s3:::team" in said
    named = [one for one in (*OBJECT_ACTIONS, "s3:ListBucket") if f"\n  {one} " in said]
    assert named == [action]
    for other in set(PLACES.values()) - {PLACES[place]}:
        can_use(reached, s3, keys, other)
    empty(s3)


class Cut(Exception):
    pass


class Torn:
    """A large file that cannot be read to its end."""

    left = 3 * PART

    def read(self, size: int) -> bytes:
        if self.left < PART:
            raise Cut
        self.left -= size
        return bytes(size)


@pytest.mark.parametrize("place", PLACES)
def test_large_uploads_are_taken_back_when_they_fail(s3: MotoS3, tmp_path: Path, place: str) -> None:
    prefix = PLACES[place].removeprefix("s3://team/")
    keys = s3.create_user(f"{place}-uploads", LEAST)
    large = tmp_path / "large"
    large.write_bytes(bytes(2 * PART + 1))
    client = s3.client(keys=keys)
    client.upload_file(str(large), "team", f"{prefix}/large")
    assert s3.client().head_object(Bucket="team", Key=f"{prefix}/large")["ETag"].endswith('-3"')
    torn_upload(client, f"{prefix}/torn")
    assert unfinished(s3) == []
    torn_upload(
        s3.client(keys=s3.create_user(f"{place}-keeps", without("s3:AbortMultipartUpload", PLACES[place]))),
        f"{prefix}/torn",
    )
    (left,) = unfinished(s3)
    s3.client().abort_multipart_upload(Bucket="team", Key=left["Key"], UploadId=left["UploadId"])
    empty(s3)


def test_nothing_outside_the_prefixes(reached: Host, s3: MotoS3) -> None:
    keys = s3.create_user("outside", LEAST)
    for place in ("s3://team/elsewhere", "s3://team/ml-2", "s3://team", "s3://team/backups"):
        said = denied(reached, s3, keys, place)
        for action in ("s3:PutObject", "s3:DeleteObject", "s3:ListBucket"):
            assert action in said, place
    s3.client().put_object(Bucket="team", Key="elsewhere/secret", Body=b"secret")
    client = s3.client(keys=keys)
    attempts: list[Callable[[], Any]] = [
        lambda: client.get_object(Bucket="team", Key="elsewhere/secret"),
        lambda: client.delete_object(Bucket="team", Key="elsewhere/secret"),
        lambda: client.list_objects_v2(Bucket="team"),
        lambda: client.list_objects_v2(Bucket="team", Prefix="elsewhere/"),
        lambda: client.list_objects_v2(Bucket="team", Prefix="ml"),
        lambda: client.get_bucket_policy(Bucket="team"),
        lambda: client.delete_bucket(Bucket="team"),
    ]
    for attempt in attempts:
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            attempt()
    assert keys_of(s3.client(), "team") == ["elsewhere/secret"]
    empty(s3)


def test_append_only_backups_can_be_added_to_and_not_taken_away(s3: MotoS3, tmp_path: Path) -> None:
    """The policy as it is printed; artifacts beside the backups can be deleted as before."""
    operator = Operator(tmp_path)
    flags = ("--artifacts", ARTIFACTS, "--backups", BACKUPS, "--append-only")
    client = s3.client(keys=s3.create_user("appends", json.loads(operator.run("iam-policy", *flags).stdout)))
    large = tmp_path / "large"
    large.write_bytes(bytes(2 * PART + 1))
    client.upload_file(str(large), "team", "backups/server/large")
    client.put_object(Bucket="team", Key="backups/server/small", Body=b"small")
    torn_upload(client, "backups/server/torn")
    assert unfinished(s3) == []
    assert client.get_object(Bucket="team", Key="backups/server/small")["Body"].read() == b"small"
    listed = client.list_objects_v2(Bucket="team", Prefix="backups/server/")["Contents"]
    there = ["backups/server/large", "backups/server/small"]
    assert [entry["Key"] for entry in listed] == there
    attempts: list[Callable[[], Any]] = [
        lambda: client.delete_object(Bucket="team", Key=there[1]),
        lambda: client.put_bucket_versioning(Bucket="team", VersioningConfiguration={"Status": "Suspended"}),
        lambda: client.put_bucket_lifecycle_configuration(Bucket="team", LifecycleConfiguration={"Rules": []}),
    ]
    for attempt in attempts:
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            attempt()
    several = client.delete_objects(Bucket="team", Delete={"Objects": [{"Key": key} for key in there]})
    assert [error["Code"] for error in several["Errors"]] == ["AccessDenied", "AccessDenied"]
    assert keys_of(s3.client(), "team") == there
    client.put_object(Bucket="team", Key="ml/run", Body=b"run")
    client.delete_object(Bucket="team", Key="ml/run")
    assert keys_of(s3.client(), "team") == there
    empty(s3)


def test_a_server_lives_under_the_policy_that_is_printed(
    host: LabHost, s3: MotoS3, reached: Host, tmp_path: Path
) -> None:
    operator = Operator(tmp_path, host.ssh_config)
    printed = json.loads(operator.run("iam-policy", "--artifacts", ARTIFACTS, "--backups", BACKUPS).stdout)
    assert printed == LEAST
    keys = s3.create_user("server", printed)
    keys_in_environment(operator, keys)
    where = ("--artifacts", ARTIFACTS, "--endpoint-url", s3.endpoint, "--region", "us-east-1", "--aws-keys")
    made = operator.json("setup", on(host), "--yes", *where)
    assert {check["verdict"] for check in made["verify"]} == {"ok"}
    assert operator.json("verify", "server", "--no-kill")["ok"] is True
    assert keys_of(s3.client(), "team") == []  # what was proved and verified with is deleted again
    upload(host, operator, "0/run/artifacts/large.bin", bytes(2 * PART + 1))
    assert keys_of(s3.client(), "team") == ["ml/0/run/artifacts/large.bin"]
    assert s3.client().head_object(Bucket="team", Key="ml/0/run/artifacts/large.bin")["ETag"].endswith('-3"')
    can_use(reached, s3, keys, BACKUPS)


def upload(host: LabHost, operator: Operator, path: str, content: bytes) -> None:
    """Through the server's proxy, as its clients do."""
    login = operator.json("env", "server")["environment"]
    (host.path("/tmp/large.bin")).write_bytes(content)
    url = f"http://localhost:5000/api/2.0/mlflow-artifacts/artifacts/{path}"
    secret = f'user = "{login["MLFLOW_TRACKING_USERNAME"]}:{login["MLFLOW_TRACKING_PASSWORD"]}"'
    host.run(["curl", "-sS", "--fail", "-K", "-", "-T", "/tmp/large.bin", url], input=secret)


def torn_upload(client: Any, key: str) -> None:
    with pytest.raises(Cut):
        client.upload_fileobj(Torn(), "team", key)


def unfinished(s3: MotoS3) -> list[dict[str, Any]]:
    return list(s3.client().list_multipart_uploads(Bucket="team").get("Uploads", ()))


def empty(s3: MotoS3) -> None:
    for key in keys_of(s3.client(), "team"):
        s3.client().delete_object(Bucket="team", Key=key)


def test_a_role_is_made_by_those_who_may(s3: MotoS3, tmp_path: Path) -> None:
    """The real command, against IAM over the network."""
    operator = Operator(tmp_path, variables={"AWS_ENDPOINT_URL": s3.endpoint})
    keys_in_profile(operator, "work", s3.create_user("no-admin", LEAST))
    wanted = ("iam-policy", "--artifacts", ARTIFACTS, "--role", "mlflow", "--aws-profile", "work", "--yes")
    said = operator.refused(*wanted)
    assert "cannot create the role mlflow: the AWS profile 'work' may not (iam:GetRole is denied)" in said
    keys_in_profile(operator, "work", s3.keys)
    assert operator.json(*wanted)["done"][0] == "created the role mlflow, with this policy and no other"
    made = s3.client("iam").get_role_policy(RoleName="mlflow", PolicyName="mlflow-provision")
    assert made["PolicyDocument"] == policy(ARTIFACTS)
