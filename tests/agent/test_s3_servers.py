"""The same requests against S3 servers that others wrote: rclone's, which checks signatures, and moto's, with IAM."""

from __future__ import annotations

import json
import shutil
import sys
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
from tests.lab.server import free_port, serving

BUCKET = "bucket"
ACTIONS = ("s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject")


def program(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None or shutil.which("setpriv") is None:
        pytest.skip(f"{name} is not installed here")
    return found


def access(endpoint: str, key: str, secret: str, prefix: str = "/some prefix/ü") -> StoreAccess:
    return StoreAccess("store", f"s3://{BUCKET}{prefix}", "us-east-1", endpoint, key, secret, "", "/nonexistent/state")


def problem(store: StoreAccess) -> str:
    with pytest.raises(AgentError) as caught:
        store.apply(Context())
    return caught.value.message


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreAccess]:
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "store" / BUCKET).mkdir(parents=True)
    port = free_port("127.0.0.1")
    argv = [program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", str(folder / "store")]
    environment = {"RCLONE_AUTH_KEY": '"KEY,SECRET"', "RCLONE_CONFIG": str(folder / "none")}
    with serving(argv, address="127.0.0.1", port=port, log=folder / "log", environment=environment):
        yield access(f"http://127.0.0.1:{port}", "KEY", "SECRET")
    assert not [path for path in folder.rglob("*") if NAME in path.name]


@pytest.mark.parametrize("destination", [f"s3://{BUCKET}", f"s3://{BUCKET}/p", f"s3://{BUCKET}/some prefix/ü+%25"])
def test_rclone(rclone: StoreAccess, destination: str) -> None:
    replace(rclone, destination=destination).apply(Context())


def test_rclone_refuses(rclone: StoreAccess) -> None:
    assert "the secret access key is wrong" in problem(replace(rclone, secret_access_key="other"))
    assert "the access key id is wrong" in problem(replace(rclone, access_key_id="other"))
    assert "there is no such bucket" in problem(replace(rclone, destination="s3://other/p"))


class Moto:
    """moto with IAM enforced: an administrator, and a user whose policy the test writes."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._keys = ("free", "free")  # of the first calls, which make the administrator
        self._keys = self._user("administrator", [{"Effect": "Allow", "Action": "*", "Resource": "*"}])
        self.client("s3").create_bucket(Bucket=BUCKET)
        self.user = self._user("user", [])

    def client(self, service: str) -> Any:
        import boto3

        key, secret = self._keys
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
        )

    def allow(self, actions: tuple[str, ...], prefix: str = "p") -> None:
        resources = {"s3:ListBucket": f"arn:aws:s3:::{BUCKET}"}
        anything = f"arn:aws:s3:::{BUCKET}/{prefix}/*"
        self._policy(
            "user",
            [{"Effect": "Allow", "Action": name, "Resource": resources.get(name, anything)} for name in actions],
        )

    def _user(self, name: str, statements: list[dict[str, str]]) -> tuple[str, str]:
        iam = self.client("iam")
        iam.create_user(UserName=name)
        self._policy(name, statements)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    def _policy(self, user: str, statements: list[dict[str, str]]) -> None:
        nothing = [{"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}]
        document = json.dumps({"Version": "2012-10-17", "Statement": statements or nothing})
        self.client("iam").put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document)

    def keys(self) -> list[str]:
        return [entry["Key"] for entry in self.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])]


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    pytest.importorskip("boto3", reason="boto3 is not installed here")
    port = free_port("127.0.0.1")
    argv = [program("moto_server"), "--host", "127.0.0.1", "--port", str(port)]
    log = tmp_path_factory.mktemp("moto") / "log"
    environment = {"INITIAL_NO_AUTH_ACTION_COUNT": "3"}
    with serving(argv, address="127.0.0.1", port=port, log=log, environment=environment):
        yield Moto(f"http://127.0.0.1:{port}")


SUBSETS = [subset for count in range(4) for subset in combinations(ACTIONS, count)]


@pytest.mark.parametrize("allowed", SUBSETS, ids=lambda subset: "+".join(subset).replace("s3:", "") or "nothing")
def test_moto_denies(moto: Moto, allowed: tuple[str, ...]) -> None:
    moto.allow(allowed)
    message = problem(access(moto.endpoint, *moto.user, prefix="/p"))
    for name in ACTIONS:
        assert (f"{name} on arn:aws:s3:::{BUCKET}" in message) == (name not in allowed)
    left = moto.keys()
    for key in left:  # moto ignores checksums; that it was left is said
        assert key in message and "s3:PutObject" in allowed and "s3:DeleteObject" not in allowed
        moto.client("s3").delete_object(Bucket=BUCKET, Key=key)


def test_moto_allows_exactly_what_is_needed(moto: Moto) -> None:
    moto.allow(ACTIONS)
    access(moto.endpoint, *moto.user, prefix="/p").apply(Context())
    assert "s3:PutObject on" in problem(access(moto.endpoint, *moto.user, prefix="/other"))
    assert moto.keys() == []


def test_moto_refuses(moto: Moto) -> None:
    key, secret = moto.user
    assert "the secret access key is wrong" in problem(access(moto.endpoint, key, "other"))
    assert "the access key id is wrong" in problem(access(moto.endpoint, "other", secret))
