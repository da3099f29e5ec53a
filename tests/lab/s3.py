"""Two S3 servers that lab hosts can reach: rclone's over a folder, and moto's with IAM, STS and EC2."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.lab.network import services_address
from tests.lab.program import LabError
from tests.lab.server import free_port, serving

REGION = "us-east-1"


class Keys(NamedTuple):
    key: str
    secret: str


ANY_KEYS = Keys("any-key", "any-secret")
REPOSITORY = Path(__file__).resolve().parents[2]
LIKE_AWS = ("python", "-m", "tests.lab.aws")


@dataclass
class RcloneS3:
    """A real S3 over `folder`: each folder in it is a bucket. Refuses other keys than its own."""

    folder: Path
    key: str = "lab-key"
    secret: str = "lab-secret"
    endpoint: str = ""  # the same for the tests and for every lab host
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> RcloneS3:
        def argv(address: str, port: int) -> list[str]:
            return [_program("rclone"), "serve", "s3", "--addr", f"{address}:{port}", str(self.folder)]

        environment = {"RCLONE_AUTH_KEY": f'"{self.key},{self.secret}"', "RCLONE_CONFIG": os.devnull}
        self.endpoint = self._open.enter_context(_served(argv, environment))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def keys(self) -> Keys:
        return Keys(self.key, self.secret)

    def client(self, keys: Keys | None = None) -> Any:
        """A boto3 S3 client of this server, with its own keys or others."""
        return _boto3_client("s3", self.endpoint, keys or self.keys)

    def create_bucket(self, name: str) -> None:
        """Through the server: it remembers for minutes which folders there are."""
        self.client().create_bucket(Bucket=name)


@dataclass
class MotoS3:
    """AWS as moto plays it. Takes any keys; with `enforce_iam` only those of users it knows.

    `program` is moto's own, or `LIKE_AWS`: then S3 judges conditions, and each object, as AWS does.
    """

    enforce_iam: bool = False
    program: tuple[str, ...] = ("moto_server",)
    endpoint: str = ""
    keys: Keys = ANY_KEYS  # of an administrator
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> MotoS3:
        def argv(address: str, port: int) -> list[str]:
            return [_program(self.program[0]), *self.program[1:], "--host", address, "--port", str(port)]

        # the first three calls, which make the administrator, are free
        environment = {"INITIAL_NO_AUTH_ACTION_COUNT": "3"} if self.enforce_iam else {}
        self.endpoint = self._open.enter_context(_served(argv, {"PYTHONPATH": str(REPOSITORY), **environment}))
        if self.enforce_iam:
            everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
            self.keys = self.create_user("lab-admin", {"Version": "2012-10-17", "Statement": [everything]})
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def client(self, service: str = "s3", keys: Keys | None = None) -> Any:
        """A boto3 client of this server, as the administrator or with other keys."""
        return _boto3_client(service, self.endpoint, keys or self.keys)

    def create_bucket(self, name: str) -> None:
        self.client().create_bucket(Bucket=name)

    def create_user(self, name: str, policy: Mapping[str, Any]) -> Keys:
        """An IAM user who may do what `policy` says, and no more (with `enforce_iam`)."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="lab", PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return Keys(made["AccessKeyId"], made["SecretAccessKey"])


@contextmanager
def _served(argv: Callable[[str, int], list[str]], environment: Mapping[str, str]) -> Iterator[str]:
    """The endpoint of the server that `argv` starts at an address and a port; it ends with the block."""
    with services_address() as address, tempfile.TemporaryDirectory() as logs:
        port, log = free_port(address), Path(logs) / "log"
        with serving(argv(address, port), address=address, port=port, log=log, environment=environment):
            yield f"http://{address}:{port}"


def _boto3_client(service: str, endpoint: str, keys: Keys) -> Any:
    import boto3  # slow, and few tests need it

    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=keys.key,
        aws_secret_access_key=keys.secret,
    )


def _program(name: str) -> str:
    """A program that came with a Python package, thus beside Python."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise LabError(f"{name} is not installed; it is among the development dependencies")
    return found
