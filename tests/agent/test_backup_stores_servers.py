"""Backups in buckets of servers that others wrote: rclone's, which checks signatures, and moto's, with IAM like AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_provision.agent.backup.settings import Place
from mlflow_provision.agent.backup.stores import open_store
from mlflow_provision.agent.backup.stores.base import Missing, Store
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3.multipart import PART
from tests.agent.test_s3_servers import BUCKET, Moto, program
from tests.lab.aws import __name__ as LIKE_AWS
from tests.lab.server import free_port, serving

REPOSITORY = Path(__file__).resolve().parents[2]
PREFIXES = ["", "/p", "/some prefix/ü+%25"]
MANY = 1005  # objects: more than any server lists at once
APPEND_ONLY = ("s3:PutObject", "s3:GetObject", "s3:ListBucket")


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("rclone")
    many = folder / "store" / BUCKET / "many" / "server" / "id"
    many.mkdir(parents=True)
    for number in range(MANY):
        (many / str(number)).touch()
    port = free_port("127.0.0.1")
    argv = [program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", str(folder / "store")]
    environment = {"RCLONE_AUTH_KEY": '"KEY,SECRET"', "RCLONE_CONFIG": str(folder / "none")}
    with serving(argv, address="127.0.0.1", port=port, log=folder / "log", environment=environment):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    pytest.importorskip("boto3", reason="boto3 is not installed here")
    program("moto_server")
    port = free_port("127.0.0.1")
    argv = [sys.executable, "-m", LIKE_AWS, "--host", "127.0.0.1", "--port", str(port)]
    environment = {"INITIAL_NO_AUTH_ACTION_COUNT": "3", "PYTHONPATH": str(REPOSITORY)}
    log = tmp_path_factory.mktemp("moto") / "log"
    with serving(argv, address="127.0.0.1", port=port, log=log, environment=environment):
        yield Moto(f"http://127.0.0.1:{port}")


def opened(endpoint: str, keys: tuple[str, str], state: Path, prefix: str = "/p") -> Store:
    place = Place(f"s3://{BUCKET}{prefix}", "us-east-1", endpoint, *keys)
    return open_store(place, "server", str(state), print)


def everything(store: Store) -> None:
    """Put, list, get and delete, of small and large ones."""
    contents = {"id/empty": b"", "id/small": b"small", "packs/large": os.urandom(2 * PART + 5)}
    for key, content in contents.items():
        with store.put(key, len(content)) as writer:
            writer.write(content)
    assert {entry.key: entry.size for entry in store.list()} == {key: len(content) for key, content in contents.items()}
    assert [entry.key for entry in store.list("packs/")] == ["packs/large"]
    assert {key: store.read(key) for key in contents} == contents
    with pytest.raises(Missing):
        store.read("id/none")
    with pytest.raises(ZeroDivisionError), store.put("id/half") as writer:
        writer.write(bytes(2 * PART))
        raise ZeroDivisionError
    assert len(list(store.list("id/"))) == 2
    store.delete([*contents, "id/none"])
    assert list(store.list()) == []


@pytest.mark.parametrize("prefix", PREFIXES)
def test_rclone(rclone: str, tmp_path: Path, prefix: str) -> None:
    everything(opened(rclone, ("KEY", "SECRET"), tmp_path, prefix))


@pytest.mark.parametrize("prefix", PREFIXES[1:])
def test_moto_with_exactly_what_is_allowed(moto: Moto, tmp_path: Path, prefix: str) -> None:
    moto.allow(("s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"), prefix[1:])
    listing = {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": f"arn:aws:s3:::{BUCKET}",
        "Condition": {"StringLike": {"s3:prefix": [f"{prefix[1:]}/*"]}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [listing]})
    moto.client("iam").put_user_policy(UserName="user", PolicyName="list", PolicyDocument=document)
    everything(opened(moto.endpoint, moto.user, tmp_path, prefix))
    assert not moto.client("s3").list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def test_a_list_of_many_pages(rclone: str, tmp_path: Path) -> None:
    found = [entry.key for entry in opened(rclone, ("KEY", "SECRET"), tmp_path, "/many").list()]
    assert len(found) == MANY and set(found) == {f"id/{number}" for number in range(MANY)}


def test_nothing_may_be_deleted(moto: Moto, tmp_path: Path) -> None:
    moto.allow(APPEND_ONLY)
    store = opened(moto.endpoint, moto.user, tmp_path)
    with store.put("id/part") as writer:
        writer.write(bytes(2 * PART))
    with pytest.raises(AgentError, match=rf"lacks permissions on .*\n.*s3:DeleteObject on arn:aws:s3:::{BUCKET}/p/"):
        store.delete(["id/part"])
    assert store.read("id/part") == bytes(2 * PART)


def test_what_servers_refuse(rclone: str, moto: Moto, tmp_path: Path) -> None:
    for endpoint, key in ((rclone, "KEY"), (moto.endpoint, moto.user[0])):
        with pytest.raises(AgentError, match="the secret access key is wrong"):
            list(opened(endpoint, (key, "other"), tmp_path).list())
        with pytest.raises(AgentError, match="the access key id is wrong"):
            list(opened(endpoint, ("other", "other"), tmp_path).list())
    place = Place("s3://no-such-bucket/p", "us-east-1", rclone, "KEY", "SECRET")
    with pytest.raises(AgentError, match="there is no such bucket") as caught:
        list(open_store(place, "server", str(tmp_path), print).list())
    assert "[backup] destination" in caught.value.hint


MEMORY = """
import re, sys
from mlflow_provision.agent.backup.settings import Place
from mlflow_provision.agent.backup.stores import open_store
store = open_store(Place("s3://bucket/memory", "us-east-1", sys.argv[1], "KEY", "SECRET"), "server", "", print)
with store.put("id/part") as writer:
    for number in range(int(sys.argv[2])):
        writer.write(number.to_bytes(4, "big") * 262144)
sizes = []
store.get("id/part", lambda piece: sizes.append(len(piece)))
store.delete(["id/part"])
print(sum(sizes) >> 20, int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) >> 10)
"""


def test_memory_stays_flat(rclone: str) -> None:
    peaks = []
    for size in (64, 320):
        argv = [sys.executable, "-c", MEMORY, rclone, str(size)]
        answer = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout.split()
        assert int(answer[0]) == size
        peaks.append(int(answer[1]))
    assert peaks[1] < peaks[0] + 16 and peaks[1] < 120, "MiB"
