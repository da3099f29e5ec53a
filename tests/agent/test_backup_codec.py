"""Content goes into objects and comes back the same, or not at all; any age and gzip open what was stored."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from mlflow_provision.agent.backup import age, transfer
from mlflow_provision.agent.backup.codec import (
    Key,
    Stored,
    check_stored,
    load_stream,
    store_stream,
    stored_pieces,
    suffix,
)
from mlflow_provision.agent.backup.manifest import Member
from mlflow_provision.agent.backup.settings import Encryption
from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.protocol import AgentError

IDENTITY = pyrage.x25519.Identity.generate()
TO_NOBODY = Encryption()
TO_US = Encryption(recipient=str(IDENTITY.to_public()), python=sys.executable)
OURS = Key(str(IDENTITY), sys.executable)
CONTENT = random.Random(5).randbytes(1 << 20) + bytes(5 << 20) + b"the end"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "store"))


def pieces(content: bytes = CONTENT, size: int = 300_000) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def stored(store: FolderStore, encryption: Encryption, content: bytes = CONTENT, key: str = "b1/mlflow.db") -> Member:
    whole = key + suffix(encryption)
    sums = store_stream(store, whole, pieces(content), encryption)
    return Member("mlflow.db", whole, sums.size, sums.sha256, sums.stored_size, sums.stored_sha256)


def loaded(store: FolderStore, member: Member, key: Key = OURS) -> bytes:
    found = bytearray()
    load_stream(store, member, found.extend, key)
    return bytes(found)


def path_of(store: FolderStore, member: Member) -> Path:
    return Path(store.title, member.key)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def left(store: FolderStore) -> list[str]:
    return [name for _, _, names in os.walk(store.title) for name in names]


@pytest.mark.parametrize("encryption", [TO_NOBODY, TO_US], ids=["plain", "encrypted"])
@pytest.mark.parametrize("content", [CONTENT, b"x", b""], ids=["much", "little", "nothing"])
def test_it_comes_back_and_the_sums_are_true(store: FolderStore, encryption: Encryption, content: bytes) -> None:
    member = stored(store, encryption, content)
    assert loaded(store, member) == content
    raw = path_of(store, member).read_bytes()
    assert (member.size, member.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (member.stored_size, member.stored_sha256) == (len(raw), hashlib.sha256(raw).hexdigest())
    check_stored(store, member)


def test_other_programs_open_it(store: FolderStore) -> None:
    assert gzip.decompress(path_of(store, stored(store, TO_NOBODY)).read_bytes()) == CONTENT
    member = stored(store, TO_US)
    assert member.key == "b1/mlflow.db.gz.age"
    assert gzip.decompress(pyrage.decrypt(path_of(store, member).read_bytes(), [IDENTITY])) == CONTENT


def test_what_another_age_has_written_is_read(store: FolderStore) -> None:
    raw = pyrage.encrypt(gzip.compress(CONTENT), [IDENTITY.to_public(), pyrage.x25519.Identity.generate().to_public()])
    with store.put("b1/x.gz.age") as writer:
        writer.write(raw)
    sums = Stored(len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), len(raw), hashlib.sha256(raw).hexdigest())
    assert loaded(store, Member("x", "b1/x.gz.age", *vars(sums).values())) == CONTENT


@pytest.mark.parametrize("encryption", [TO_NOBODY, TO_US], ids=["plain", "encrypted"])
def test_every_flipped_bit_is_found(store: FolderStore, encryption: Encryption) -> None:
    member = stored(store, encryption)
    path = path_of(store, member)
    # In the heads of gzip and age, where it may look like a wrong key or a harmless flag; in the middle; at the end.
    for position in (*range(0, 250, 9), member.stored_size // 2, *range(-20, 0)):
        flip(path, position)
        for look in (lambda: loaded(store, member), lambda: check_stored(store, member)):
            with pytest.raises(AgentError, match=r"mlflow\.db\.gz.* is damaged: ") as caught:
                look()
            assert (caught.value.kind, "backup list" in caught.value.hint) == ("damaged", True), position
        flip(path, position)
    assert loaded(store, member) == CONTENT


@pytest.mark.parametrize("encryption", [TO_NOBODY, TO_US], ids=["plain", "encrypted"])
@pytest.mark.parametrize("length", [0, 1, 10, 100, 70_000, -1])
def test_every_truncation_is_found(store: FolderStore, encryption: Encryption, length: int) -> None:
    member = stored(store, encryption)
    os.truncate(path_of(store, member), length % (member.stored_size + 1) if length >= 0 else member.stored_size - 1)
    for look in (lambda: loaded(store, member), lambda: check_stored(store, member)):
        with pytest.raises(AgentError, match="is damaged: ") as caught:
            look()
        assert caught.value.kind == "damaged"


@pytest.mark.parametrize("encryption", [TO_NOBODY, TO_US], ids=["plain", "encrypted"])
def test_what_was_added_is_found(store: FolderStore, encryption: Encryption) -> None:
    member = stored(store, encryption)
    with path_of(store, member).open("ab") as file:
        file.write(b"x" * 3_000_000)
    for look in (lambda: loaded(store, member), lambda: check_stored(store, member)):
        with pytest.raises(AgentError, match=f"it has more, not {member.stored_size} bytes") as caught:
            look()
        assert caught.value.kind == "damaged"


def test_an_object_that_is_gone_is_damage(store: FolderStore) -> None:
    member = stored(store, TO_NOBODY)
    store.delete([member.key])
    for look in (lambda: loaded(store, member), lambda: check_stored(store, member)):
        with pytest.raises(AgentError, match="is damaged: it is not there any more"):
            look()


def test_another_content_with_a_true_outer_sum_is_found(store: FolderStore) -> None:
    member, other = stored(store, TO_NOBODY), stored(store, TO_NOBODY, b"y" * len(CONTENT), "b2/mlflow.db")
    forged = replace(other, sha256=member.sha256)
    with pytest.raises(AgentError, match="its content is not what was backed up"):
        loaded(store, forged)


def test_a_bomb_does_not_fill_the_disk(store: FolderStore) -> None:
    bomb = replace(stored(store, TO_NOBODY, bytes(50 << 20)), size=1000)
    found = bytearray()
    with pytest.raises(AgentError, match="it holds more than was put into it"):
        load_stream(store, bomb, found.extend, OURS)
    assert len(found) < 2 << 20


def test_a_wrong_key_is_no_damage(store: FolderStore) -> None:
    member = stored(store, TO_US)
    wrong = Key(str(pyrage.x25519.Identity.generate()), sys.executable)
    for key in (wrong, Key("nonsense", sys.executable), Key("", sys.executable)):
        with pytest.raises(AgentError, match=r"mlflow\.db\.gz\.age ") as caught:
            loaded(store, member, key)
        assert caught.value.kind == "key"


def test_whose_key_it_is_can_be_told_without_any_object() -> None:
    assert age.recipient_of(str(IDENTITY), sys.executable) == TO_US.recipient
    with pytest.raises(age.WrongKey):
        age.recipient_of("AGE-SECRET-KEY-1NONSENSE", sys.executable)


def test_a_key_is_not_shown() -> None:
    assert "AGE-SECRET" not in repr(OURS)


@pytest.mark.parametrize("encryption", [TO_NOBODY, TO_US], ids=["plain", "encrypted"])
def test_a_failing_source_leaves_nothing(store: FolderStore, encryption: Encryption) -> None:
    def breaking() -> Iterator[bytes]:
        yield from pieces()
        raise OSError(5, "Input/output error", "/source")

    with pytest.raises(OSError, match="Input/output error"):
        store_stream(store, "b1/mlflow.db" + suffix(encryption), breaking(), encryption)
    assert left(store) == []


class FailingStore(FolderStore):
    """Takes a mebibyte of an object, then does what the test wants."""

    def __init__(self, folder: str, then: Callable[[], None]) -> None:
        super().__init__(folder)
        self._then = then

    @contextlib.contextmanager
    def put(self, key: str, expected: int = 0) -> Iterator[FailingWriter]:  # type: ignore[override]
        with super().put(key, expected) as writer:
            yield FailingWriter(writer.write, self._then)


class FailingWriter:
    def __init__(self, write: Callable[[bytes], None], then: Callable[[], None]) -> None:
        self._write, self._then, self._size = write, then, 0

    def write(self, data: bytes) -> None:
        self._write(data)
        self._size += len(data)
        if self._size > 1 << 20:
            self._then()


def waited(event: threading.Event) -> None:
    event.wait(30)


def endless() -> Iterator[bytes]:
    noise = random.Random(1)
    while True:
        yield noise.randbytes(200_000)


@pytest.mark.parametrize("encryption", [TO_NOBODY, TO_US], ids=["plain", "encrypted"])
def test_why_the_store_failed_is_told(tmp_path: Path, encryption: Encryption) -> None:
    def denied() -> None:
        raise AgentError("s3 says no", "ask for more rights", "store")

    store = FailingStore(str(tmp_path), denied)
    with pytest.raises(AgentError, match="s3 says no") as caught:
        store_stream(store, "b1/mlflow.db" + suffix(encryption), endless(), encryption)
    assert caught.value.hint == "ask for more rights"
    assert left(store) == []


@pytest.mark.parametrize("encryption", [TO_NOBODY, TO_US], ids=["plain", "encrypted"])
def test_a_stop_ends_it_within_a_second_and_leaves_nothing(store: FolderStore, encryption: Encryption) -> None:
    asked = threading.Event()
    threading.Timer(0.5, asked.set).start()
    with pytest.raises(AgentError) as caught:
        store_stream(store, "b1/mlflow.db" + suffix(encryption), endless(), encryption, stopping=asked.is_set)
    assert caught.value.kind == "interrupted"
    assert left(store) == []
    assert not transfer.at_work()


def test_a_stop_does_not_wait_for_a_store_that_hangs(tmp_path: Path) -> None:
    release, asked = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        waited(release)

    store = FailingStore(str(tmp_path), hang)
    started = time.monotonic()
    with pytest.raises(AgentError) as caught:
        store_stream(store, "b1/mlflow.db.gz", endless(), TO_NOBODY, stopping=asked.is_set)
    assert (caught.value.kind, time.monotonic() - started < 30) == ("interrupted", True)
    assert transfer.at_work()  # so that whoever cleans up knows that it may not be over
    release.set()
    deadline = time.monotonic() + 10
    while transfer.at_work():
        assert time.monotonic() < deadline
    assert left(store) == []


@pytest.mark.parametrize("encryption", [TO_NOBODY, TO_US], ids=["plain", "encrypted"])
def test_a_stop_ends_loading_too(store: FolderStore, encryption: Encryption) -> None:
    member = stored(store, encryption)
    asked = threading.Event()
    with pytest.raises(AgentError) as caught:
        load_stream(store, member, lambda piece: asked.set(), OURS, asked.is_set)
    assert caught.value.kind == "interrupted"


def test_a_sink_that_fails_says_so_itself(store: FolderStore) -> None:
    def full(piece: bytes) -> None:
        raise OSError(28, "No space left on device", "/scratch")

    for encryption in (TO_NOBODY, TO_US):
        with pytest.raises(OSError, match="No space left on device"):
            load_stream(store, stored(store, encryption), full, OURS)


def test_a_lost_store_is_no_damage(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    member = stored(store, TO_NOBODY)

    def lost(key: str, sink: Callable[[bytes], object]) -> None:
        sink(path_of(store, member).read_bytes()[:1000])
        raise AgentError("the connection was lost", kind="store")

    monkeypatch.setattr(store, "get", lost)
    for look in (lambda: loaded(store, member), lambda: check_stored(store, member)):
        with pytest.raises(AgentError, match="the connection was lost") as caught:
            look()
        assert caught.value.kind == "store"


def test_progress_tells_the_bytes_of_the_plain_content(store: FolderStore) -> None:
    told: list[int] = []
    store_stream(store, "b1/mlflow.db.gz", pieces(), TO_NOBODY, len(CONTENT), told.append)
    assert (sum(told), len(told)) == (len(CONTENT), len(list(pieces())))
    back: list[int] = []
    load_stream(store, stored(store, TO_US), lambda piece: None, OURS, progress=back.append)
    assert sum(back) == len(CONTENT)


def test_a_missing_program_says_what_installs_it(store: FolderStore) -> None:
    nowhere = replace(TO_US, python="/nowhere/python")
    with pytest.raises(AgentError, match="/nowhere/python: No such file") as caught:
        stored(store, nowhere)
    assert "run setup again" in caught.value.hint
    assert left(store) == []


def test_a_program_without_its_library_says_so(store: FolderStore, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(AgentError, match="No module named 'pyrage'"):
        stored(store, replace(TO_US, python=str(bare)))
    assert left(store) == []


def test_stored_bytes_can_be_copied_as_they_are(store: FolderStore) -> None:
    member = stored(store, TO_US)
    assert b"".join(stored_pieces(store, member)) == path_of(store, member).read_bytes()
    flip(path_of(store, member), -1)
    copied = io.BytesIO()
    with pytest.raises(AgentError, match="its sum is not that of the manifest"):
        copied.writelines(stored_pieces(store, member))
