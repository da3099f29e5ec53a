"""Bad days of a bucket: nothing half is ever there, what passes is waited for, what stays is told with a way out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlflow_provision.agent.backup.settings import Place
from mlflow_provision.agent.backup.stores import open_store
from mlflow_provision.agent.backup.stores.base import Missing, Store
from mlflow_provision.agent.http import client as http
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3 import multipart, patience
from mlflow_provision.agent.s3.multipart import part_size
from tests.agent.troubled_s3 import Asked, Cut, Refuse, Trouble, TroubledS3, serve

KEYS = ("AKID-canary", "secret-canary", "token-canary")
MIB = 1 << 20
PART = MIB  # in these tests


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[TroubledS3]:
    monkeypatch.setattr(patience, "_FIRST", 0.01)
    monkeypatch.setattr(patience, "_LONGEST", 0.02)
    monkeypatch.setattr(multipart, "PART", PART)
    with serve(TroubledS3()) as fake:
        yield fake


@pytest.fixture
def store(s3: TroubledS3, tmp_path: Path) -> Store:
    return opened(s3, tmp_path)


def opened(s3: TroubledS3, state: Path, stopping: Callable[[], bool] = lambda: False, **changed: str) -> Store:
    place = {"destination": "s3://bucket/pre fix", "region": "us-east-1", "endpoint_url": s3.endpoint, **changed}
    keys = dict(zip(("access_key_id", "secret_access_key", "session_token"), KEYS, strict=True))
    return open_store(Place(**{**keys, **place}), "server", str(state), no_event, stopping)


def no_event(event: object) -> None:
    raise AssertionError(event)


def put(store: Store, content: bytes, key: str = "id/part", piece: int = 300_000) -> None:
    with store.put(key, len(content)) as writer:
        for start in range(0, len(content), piece):
            writer.write(content[start : start + piece])


def got(store: Store, key: str = "id/part") -> bytes:
    pieces: list[bytes] = []
    store.get(key, pieces.append)
    return b"".join(pieces)


def times(number: int, trouble: Trouble, operation: str = "") -> Callable[[Asked], Trouble]:
    """Only the first so many requests of a kind are troubled."""
    left = [trouble] * number
    return lambda asked: left.pop() if left and operation in ("", asked.operation) else None


def failure(action: Callable[[], object]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        action()
    told = caught.value
    assert not [key for key in KEYS if key in told.message + told.hint]
    return told


LARGE = os.urandom(2 * PART + 12345)  # three parts


# What passes.


@pytest.mark.parametrize(
    "trouble",
    [
        Refuse(503, "SlowDown"),
        Refuse(500, "InternalError"),
        Refuse(400, "RequestTimeout"),
        Refuse(502, "<html>bad gateway"),
        Cut("body"),
        Cut("before"),
        Cut("after"),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "operation", ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "GetObject"]
)
def test_what_passes_is_waited_for(s3: TroubledS3, store: Store, operation: str, trouble: Trouble) -> None:
    list(store.list())  # the first answer: from now on the address is right
    s3.trouble = times(2, trouble, operation)
    content = b"small" if operation == "PutObject" else LARGE
    put(store, content)
    assert got(store) == content
    assert not s3.uploads or trouble == Cut("after")  # an upload that began unheard: nobody knows its name
    assert s3.count(operation) >= 3


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_broke(s3: TroubledS3, store: Store, ranges: bool) -> None:
    s3.ranges = ranges
    put(store, LARGE)
    s3.trouble = times(2, Cut("answer"), "GetObject")
    assert got(store) == LARGE
    asked = [asked.headers.get("range") for asked in s3.seen if asked.operation == "GetObject"]
    assert asked[0] is None and asked[1] == f"bytes={len(LARGE) // 2}-" and len(asked) == 3


def test_an_object_that_changes_while_it_is_read_is_not_mixed(s3: TroubledS3, store: Store) -> None:
    put(store, LARGE)

    def change(asked: Asked) -> Trouble:
        if asked.operation == "GetObject" and "range" not in asked.headers:
            return Cut("answer")
        s3.objects = dict.fromkeys(s3.objects, b"other" * PART)
        return None

    s3.trouble = change
    assert "PreconditionFailed" in failure(lambda: got(store)).message


def test_what_the_taker_cannot_take_is_no_trouble_of_the_store(s3: TroubledS3, store: Store) -> None:
    put(store, LARGE)

    def full(piece: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.get("id/part", full)
    assert s3.count("GetObject") == 1


def test_a_part_is_locked_only_with_a_checksum_of_its_own(s3: TroubledS3, store: Store) -> None:
    s3.wants_md5 = True
    put(store, LARGE)
    assert got(store) == LARGE


def test_connections_are_used_again(s3: TroubledS3, store: Store) -> None:
    for number in range(10):
        put(store, b"x", f"id/{number}")
    assert len(list(store.list())) == 10
    assert s3.connections == 1


def test_another_region_is_found(s3: TroubledS3, store: Store) -> None:
    s3.region = "eu-west-1"
    put(store, LARGE)
    assert got(store) == LARGE
    assert s3.seen[0].operation == s3.seen[1].operation == "CreateMultipartUpload"
    assert s3.count("CreateMultipartUpload") == 2


# What stays wrong.


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
@pytest.mark.parametrize(
    ("trouble", "message", "hint"),
    [
        (Refuse(503, "SlowDown", "Reduce your request rate"), "SlowDown: Reduce your request rate", "in some minutes"),
        (Cut("body"), "cannot reach the store of s3://bucket/pre fix/server", "nothing half is left"),
        (Refuse(403, "AccessDenied"), "s3:PutObject on arn:aws:s3:::bucket/pre fix/server/*", "IAM policy"),
        (Refuse(404, "NoSuchBucket"), "bucket bucket: there is no such bucket", "[backup] destination"),
        (Refuse(403, "QuotaExceeded", "too much"), "QuotaExceeded: too much", ""),
    ],
)
def test_a_failed_upload_leaves_nothing(
    s3: TroubledS3, store: Store, tmp_path: Path, operation: str, trouble: Trouble, message: str, hint: str
) -> None:
    list(store.list())
    s3.trouble = times(1000, trouble, operation)
    told = failure(lambda: put(store, LARGE * 5))
    assert told.kind == "store" and message in told.message and hint in told.hint
    assert s3.objects == {} and s3.uploads == {}
    assert list(tmp_path.rglob("*")) == [tmp_path / "uploads"] or operation == "CreateMultipartUpload"


def test_one_part_that_fails_ends_the_others(s3: TroubledS3, store: Store) -> None:
    s3.trouble = lambda asked: Refuse(403, "AccessDenied") if asked.number == 2 else None
    written = 0
    with pytest.raises(AgentError, match="s3:PutObject"), store.put("id/part") as writer:
        for _ in range(1000):
            writer.write(bytes(PART))
            written += PART
    assert written < 10 * PART
    assert s3.objects == {} and s3.uploads == {}


def test_an_answer_that_begins_well_and_ends_badly(s3: TroubledS3, store: Store) -> None:
    s3.trouble = times(1000, Refuse(200, "InvalidPart"), "CompleteMultipartUpload")
    assert "InvalidPart" in failure(lambda: put(store, LARGE)).message
    assert s3.objects == {} and s3.uploads == {}


def test_a_writer_that_fails_leaves_nothing(s3: TroubledS3, store: Store, tmp_path: Path) -> None:
    for size in (10, 3 * PART):
        with pytest.raises(ZeroDivisionError), store.put("id/part") as writer:
            writer.write(bytes(size))
            raise ZeroDivisionError
    assert s3.objects == {} and s3.uploads == {}
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_wrong_address_is_told_soon(s3: TroubledS3, tmp_path: Path) -> None:
    began = time.monotonic()
    store = opened(s3, tmp_path, endpoint_url="http://127.0.0.1:9")
    told = failure(lambda: list(store.list()))
    assert "nothing listens at 127.0.0.1:9" in told.message and "[backup] endpoint_url" in told.hint
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("InvalidAccessKeyId", "the access key id is wrong"),
        ("SignatureDoesNotMatch", "the secret access key is wrong"),
        ("ExpiredToken", "the session token has expired"),
    ],
)
def test_wrong_keys_are_told_at_once(s3: TroubledS3, store: Store, code: str, words: str) -> None:
    s3.trouble = times(1000, Refuse(403, code))
    assert words in failure(lambda: list(store.list())).message
    assert len(s3.seen) == 1


def test_nothing_may_be_deleted(s3: TroubledS3, store: Store) -> None:
    s3.trouble = times(1, Refuse(403, "AccessDenied"), "DeleteObject")
    assert "s3:DeleteObject on arn:aws:s3:::bucket/pre fix/server/*" in failure(lambda: store.delete(["a"])).message


def test_no_bucket_in_the_destination(s3: TroubledS3, tmp_path: Path) -> None:
    assert "s3://bucket/prefix" in failure(lambda: opened(s3, tmp_path, destination="s3:///x")).message


# The same over TLS, where other errors come.


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("tls")
    key, public = str(folder / "key"), str(folder / "public")
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", public, "-days", "2"]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*argv, *subject], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", public)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, key)
    return context


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed here")
@pytest.mark.parametrize("when", ["body", "before", "after", "answer"])
def test_cut_over_tls(s3: TroubledS3, certificate: ssl.SSLContext, tmp_path: Path, when: str) -> None:
    with serve(TroubledS3(), certificate) as secure:
        store = opened(secure, tmp_path)
        list(store.list())
        for operation in ("UploadPart", "CompleteMultipartUpload"):
            secure.trouble = times(2, Cut(when), operation)
            put(store, LARGE)
            assert not secure.trouble(Asked(operation, "", 0, {}))
        secure.trouble = times(2, Cut(when), "GetObject")
        assert got(store) == LARGE
        secure.trouble = times(1000, Refuse(403, "AccessDenied"), "UploadPart")
        assert "s3:PutObject" in failure(lambda: put(store, LARGE)).message
        assert secure.uploads == {}


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed here")
def test_a_certificate_that_nobody_signed(
    s3: TroubledS3, certificate: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with serve(TroubledS3(), certificate) as secure:
        store = opened(secure, tmp_path)
        told = failure(lambda: list(store.list()))
    assert "self-signed" in told.message.replace("self signed", "self-signed") and "update-ca-certificates" in told.hint
    assert secure.seen == []


def test_a_store_that_never_answers_the_call(s3: TroubledS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_CONNECT", 0.3)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        others = [socket.socket() for _ in range(4)]
        for other in others:  # take the places in its queue
            other.setblocking(False)
            other.connect_ex(address)
        store = opened(s3, tmp_path, endpoint_url=f"http://127.0.0.1:{address[1]}")
        told = failure(lambda: list(store.list()))
        for other in others:
            other.close()
    assert "no answer from 127.0.0.1" in told.message and "security group" in told.hint


def test_an_empty_folder_that_the_console_made(s3: TroubledS3, store: Store) -> None:
    s3.objects = {"pre fix/server/": b"", "pre fix/server/id/": b"", "pre fix/server/id/part": b""}
    assert [entry.key for entry in store.list()] == ["id/part"]


# Objects that are not there.


def test_a_missing_object(s3: TroubledS3, store: Store) -> None:
    with pytest.raises(Missing, match="s3://bucket/pre fix/server/id/none"):
        store.read("id/none")


def test_denied_may_mean_missing_for_who_may_list_only_a_prefix(s3: TroubledS3, store: Store) -> None:
    put(store, b"x", "id/there")
    s3.trouble = times(1000, Refuse(403, "AccessDenied"), "GetObject")
    with pytest.raises(Missing):
        store.read("id/the")
    assert "s3:GetObject" in failure(lambda: store.read("id/there")).message


def test_who_may_not_even_list_is_told_so(s3: TroubledS3, store: Store) -> None:
    s3.trouble = lambda asked: Refuse(403, "AccessDenied")
    assert "s3:GetObject" in failure(lambda: store.read("id/there")).message


# Killed, stopped.


def test_what_a_killed_run_left_is_taken_back_and_what_lives_is_left_alone(s3: TroubledS3, tmp_path: Path) -> None:
    program = f"""
import sys
from mlflow_provision.agent import http
from mlflow_provision.agent.backup.settings import Place
from mlflow_provision.agent.backup.stores import open_store
store = open_store(Place("s3://bucket/p", "us-east-1", "{s3.endpoint}", "a", "b"), "server", "{tmp_path}", print)
with store.put("id/part") as writer:
    writer.write(bytes({24 * MIB}))
    print("written", flush=True)
    sys.stdin.read()
"""
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"written\n"
        opened(s3, tmp_path, destination="s3://bucket/p")
        assert len(s3.uploads) == 1, "it lives"
        process.send_signal(signal.SIGKILL)
    opened(s3, tmp_path, destination="s3://bucket/p")
    assert s3.uploads == {} and list((tmp_path / "uploads").iterdir()) == []
    assert s3.count("AbortMultipartUpload") == 1


def left(folder: Path, **content: str) -> Path:
    (folder / "uploads").mkdir(exist_ok=True)
    path = folder / "uploads" / content["key"]
    path.write_text(json.dumps(content))
    return path


def test_notes_that_cannot_be_followed_now(s3: TroubledS3, tmp_path: Path) -> None:
    here = {"bucket": "bucket", "endpoint_url": s3.endpoint, "id": "gone"}
    gone = left(tmp_path, key="gone", **here)
    elsewhere = left(tmp_path, key="elsewhere", **{**here, "bucket": "other"})
    old = left(tmp_path, key="old", **{**here, "bucket": "other"})
    os.utime(old, (0, 0))
    broken = tmp_path / "uploads" / "broken"
    broken.write_text("{")
    opened(s3, tmp_path)
    assert not gone.exists() and not old.exists() and not broken.exists() and elsewhere.exists()
    denied = left(tmp_path, key="denied", **here)
    s3.trouble = times(1000, Refuse(403, "AccessDenied"))
    opened(s3, tmp_path)
    assert denied.exists()


def test_what_a_store_cannot_do_at_all_is_not_tried_again(s3: TroubledS3, store: Store) -> None:
    """rclone, for one, cannot take a part of an upload twice, and says so with an error of its own."""
    s3.trouble = times(1000, Refuse(501, "NotImplemented"), "UploadPart")
    failure(lambda: put(store, LARGE))
    assert s3.count("UploadPart") <= 3  # the parts of one object, each once
    assert s3.uploads == {}


def test_waiting_ends_when_it_is_asked_to_stop(s3: TroubledS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_FIRST", 30)
    monkeypatch.setattr(patience, "_LONGEST", 30)
    stop = threading.Event()
    store = opened(s3, tmp_path, stop.is_set)
    list(store.list())
    s3.trouble = times(1000, Refuse(503, "SlowDown"), "UploadPart")
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    assert failure(lambda: put(store, LARGE * 5)).kind == "interrupted"
    assert time.monotonic() - began < 3
    assert s3.uploads == {}


# Sizes.


def test_few_parts_are_under_way_and_in_memory(s3: TroubledS3, store: Store) -> None:
    with store.put("id/part") as writer:
        for _ in range(100):
            writer.write(bytes(MIB))
    assert len(s3.objects["pre fix/server/id/part"]) == 100 * MIB
    assert s3.busiest == 2


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART])
@pytest.mark.parametrize("piece", [100_003, 3 * PART])
def test_sizes_around_a_part(s3: TroubledS3, store: Store, size: int, piece: int) -> None:
    content = (os.urandom(1000) * (size // 1000 + 1))[:size]
    put(store, content, piece=piece)
    assert got(store) == content
    assert (s3.count("PutObject") == 1) == (size < PART)


@pytest.mark.parametrize("expected", [0, 10**9, 80 * 10**9, 5 * 10**12])
def test_ten_thousand_parts_are_enough(expected: int) -> None:
    sizes = [part_size(expected, number) for number in range(1, 10_001)]
    assert sum(sizes) >= max(1.1 * expected, 300 * 10**9)
    assert sizes[0] >= 8 * MIB and sizes[0] % MIB == 0
    needed, total = 0, 0
    while total < expected:
        total += sizes[needed]
        needed += 1
    assert len(set(sizes[:needed])) <= 1, "as expected, all parts are equally large"


def test_growing_parts(s3: TroubledS3, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "_GROWS_AFTER", 2)
    monkeypatch.setattr(multipart, "_GROWTH", 2)
    with store.put("id/part") as writer:
        for _ in range(5):
            writer.write(bytes(PART))
    assert got(store) == bytes(5 * PART)
    assert sorted(asked.number for asked in s3.seen if asked.operation == "UploadPart") == [1, 2, 3, 4]


# The instance role.


def test_credentials_of_a_role_are_renewed_before_they_expire(
    s3: TroubledS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow_provision.agent.s3 import Credentials, access

    given: list[Credentials] = []

    def role(url: str) -> tuple[str, Credentials]:
        given.append(Credentials(f"key{len(given)}", "secret", "token", time.time() + (60, 3600)[bool(given)]))
        return "the-role", given[-1]

    monkeypatch.setattr(access, "role_credentials", role)
    nothing = dict.fromkeys(("access_key_id", "secret_access_key", "session_token"), "")
    store = opened(s3, tmp_path, lambda: False, **nothing)
    list(store.list())
    list(store.list())
    assert len(given) == 2 and all("key1" in asked.headers["authorization"] for asked in s3.seen)
    # One that was taken away early.
    s3.trouble = times(1, Refuse(400, "ExpiredToken"))
    list(store.list())
    assert len(given) == 3
    s3.trouble = times(9, Refuse(403, "AccessDenied"))
    assert "the instance role the-role lacks permissions" in failure(lambda: list(store.list())).message
