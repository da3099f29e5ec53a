"""A verification finds every bit that is not as it was, says where, and tells damage from a wrong key or a bad line."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mlflow_provision.agent.backup import serve, state
from mlflow_provision.agent.backup.codec import Key
from mlflow_provision.agent.backup.listing import Listed
from mlflow_provision.agent.backup.manifest import Manifest, encode
from mlflow_provision.agent.backup.settings import Encryption
from mlflow_provision.agent.backup.verification import verify
from mlflow_provision.agent.databases import snapshot
from mlflow_provision.agent.protocol import FAILED, AgentError, Result
from tests.agent.backup_source import BackupSource

IDENTITY = pyrage.x25519.Identity.generate()
TO_US = Encryption(recipient=str(IDENTITY.to_public()), kdf={"n": 1}, python=sys.executable)


@pytest.fixture
def source(tmp_path: Path) -> BackupSource:
    source = BackupSource(tmp_path)
    source.with_artifacts()
    (source.artifacts / "model").write_bytes(random.Random(1).randbytes(30_000))
    return source


def newest(source: BackupSource) -> Listed:
    return source.listed()[0]


def manifest_of(source: BackupSource) -> Manifest:
    manifest = newest(source).manifest
    assert manifest
    return manifest


def verified(source: BackupSource, identity: str = "") -> dict[str, Any]:
    key = Key(identity, sys.executable)
    return verify(source.settings, source.store, manifest_of(source), key, source.events.append, lambda: False)


def path_of(source: BackupSource, key: str) -> Path:
    return Path(source.store.title, key)


def test_a_good_backup_is_marked_in_the_store_and_on_the_host(source: BackupSource) -> None:
    id = source.back_up()["id"]
    answer = verified(source)
    assert (answer["id"], answer["level"]) == (id, "full")
    assert {check["title"]: check["verdict"] for check in answer["checks"]} == {
        "tracking database": "ok",
        "users": "ok",
        "secrets and configuration": "ok",
        "artifacts": "ok",
    }
    mark = newest(source).verified
    assert mark and mark["level"] == "full"
    assert state.last(source.settings.state)["verified"]["id"] == id
    assert list((source.state).glob("scratch*")) == []


def test_without_the_key_the_sums_are_checked_and_that_is_said(source: BackupSource) -> None:
    source.encrypted(TO_US)
    source.back_up()
    assert verified(source)["level"] == "sums"
    mark = newest(source).verified
    assert mark and mark["level"] == "sums"
    assert verified(source, str(IDENTITY))["level"] == "full"
    assert verified(source)["level"] == "sums"
    mark = newest(source).verified
    assert mark and mark["level"] == "full"  # what was seen with the key is not forgotten without it


@pytest.mark.parametrize("encryption", [Encryption(), TO_US], ids=["plain", "encrypted"])
@pytest.mark.parametrize("identity", ["", str(IDENTITY)], ids=["no key", "key"])
def test_a_flipped_bit_in_any_object_is_found(source: BackupSource, encryption: Encryption, identity: str) -> None:
    source.encrypted(encryption)
    source.back_up()
    keys = sorted(source.objects())
    assert len(keys) == 6
    for key in keys:
        path = path_of(source, key)
        good = path.read_bytes()
        for position in (len(good) // 2, len(good) - 2):
            path.write_bytes(good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :])
            if key.endswith("manifest.json"):
                assert newest(source).manifest is None
                assert "is damaged" in newest(source).problem
                continue
            with pytest.raises(AgentError) as caught:
                verified(source, identity)
            assert (caught.value.kind, key in caught.value.message) == ("damaged", True)
            assert key in newest(source).problem
            assert newest(source).verified is None
        path.write_bytes(good)
    (source.state / "damaged-packs.json").unlink(missing_ok=True)
    assert verified(source, identity)["id"] == newest(source).id
    assert newest(source).problem == ""  # found good again, it is not damaged any more


def test_all_that_is_damaged_is_told(source: BackupSource) -> None:
    id = source.back_up()["id"]
    for name in ("mlflow.db.gz", "files.tar.gz"):
        path = path_of(source, f"{id}/{name}")
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(AgentError, match=r"2 parts of it; the first: .*mlflow\.db\.gz is damaged") as caught:
        verified(source)
    assert "mlflow-provision backup" in caught.value.hint
    failed = [event.title for event in source.events if isinstance(event, Result) and event.verdict == FAILED]
    assert failed == ["tracking database, read back", "secrets and configuration, read back"]
    noted = state.last(source.settings.state)
    assert noted["failed"]["what"] == f"backup verify {id}"
    source.back_up()
    assert state.last(source.settings.state)["failed"]["what"] == f"backup verify {id}"  # a new backup mends no old one


@pytest.mark.parametrize("name", ["mlflow.db", "basic_auth.db"])
def test_a_wrong_key_is_told_before_anything_is_fetched(source: BackupSource, name: str) -> None:
    source.encrypted(TO_US)
    id = source.back_up()["id"]
    path_of(source, f"{id}/{name}.gz.age").unlink()
    with pytest.raises(AgentError, match="the passphrase is not the one that the backup") as caught:
        verified(source, str(pyrage.x25519.Identity.generate()))
    assert caught.value.kind == "key"
    assert newest(source).problem.endswith(f"{name}.gz.age is missing")  # and it is not marked as damaged for that


def edited(source: BackupSource, change: Callable[[Manifest], Manifest]) -> None:
    """Somebody writes another manifest, and its sum with it."""
    manifest = manifest_of(source)
    path_of(source, f"{manifest.id}/manifest.json").write_bytes(encode(change(manifest)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: replace(one, rows={**one.rows, "mlflow.db": {"runs": 51}}), "rows in"),
        (
            lambda one: replace(one, schema={**one.schema, "mlflow.db": "other"}),
            "has the schema 1b5f0d9ad7c1, not other",
        ),
        (
            lambda one: replace(one, members=(replace(one.members[0], sha256="0" * 64), *one.members[1:])),
            "not what was",
        ),
        (lambda one: replace(one, packs=()), "does not name the packs"),
    ],
)
def test_an_edited_manifest_is_found(
    source: BackupSource, change: Callable[[Manifest], Manifest], message: str
) -> None:
    source.back_up()
    edited(source, change)
    with pytest.raises(AgentError, match=message) as caught:
        verified(source)
    assert caught.value.kind == "damaged"


def test_a_manifest_edited_without_its_sum_is_no_manifest(source: BackupSource) -> None:
    id = source.back_up()["id"]
    path = path_of(source, f"{id}/manifest.json")
    path.write_text(path.read_text().replace('"runs": 50', '"runs": 49'))
    with pytest.raises(AgentError, match=f"the backup {id} cannot be read: .*its sum is not that of its content"):
        serve(source.request("verify", id="", identity=""), "ada", source.events.append, lambda: False)
    assert state.last(source.settings.state)["failed"]["what"] == "backup verify"


def test_a_mark_is_about_one_manifest(source: BackupSource) -> None:
    source.back_up()
    verified(source)
    edited(source, lambda one: replace(one, host="elsewhere"))
    assert newest(source).verified is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"at": "x", "level": 1, "manifest": 3, "problems": []}'])
def test_a_mark_that_is_none_is_none(source: BackupSource, content: bytes) -> None:
    id = source.back_up()["id"]
    path_of(source, f"{id}/verified.json").write_bytes(content)
    assert (newest(source).verified, newest(source).problem) == (None, "")


def test_what_was_damaged_before_it_was_backed_up_is_said_to_be(
    source: BackupSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that does not fit its table passes a quick check."""
    with contextlib.closing(sqlite3.connect(source.tracking)) as connection:
        connection.execute("CREATE INDEX by_time ON runs (start_time)")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = 'CREATE INDEX by_time ON runs (experiment_id DESC)' WHERE name = 'by_time'"
        )
        connection.execute("UPDATE runs SET start_time = rowid")
        connection.commit()
    source.back_up()
    with pytest.raises(AgentError, match="is what was backed up, but was damaged already then") as caught:
        verified(source)
    assert caught.value.kind == "damaged"


def test_a_lost_store_marks_nothing(source: BackupSource, monkeypatch: pytest.MonkeyPatch) -> None:
    source.back_up()
    manifest, store = manifest_of(source), source.store

    def lost(key: str, sink: Callable[[bytes], object]) -> None:
        raise AgentError("the connection was lost", kind="store")

    monkeypatch.setattr(store, "get", lost)
    with pytest.raises(AgentError, match="the connection was lost"):
        verify(source.settings, store, manifest, Key(), source.events.append, lambda: False)
    assert (newest(source).problem, newest(source).verified) == ("", None)


def test_a_store_that_takes_no_mark_is_verified_all_the_same(
    source: BackupSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.back_up()
    manifest, store = manifest_of(source), source.store

    def denied(key: str, expected: int = 0) -> None:
        raise AgentError("s3 denies s3:PutObject", kind="store")

    monkeypatch.setattr(store, "put", denied)
    assert verify(source.settings, store, manifest, Key(), source.events.append, lambda: False)["level"] == "full"
    assert state.last(source.settings.state)["verified"]["level"] == "full"


def test_a_stop_leaves_nothing_and_is_no_failure(source: BackupSource) -> None:
    source.back_up()
    before = source.objects()
    stop = threading.Event()
    with pytest.raises(AgentError) as caught:
        verify(source.settings, source.store, manifest_of(source), Key(), lambda event: stop.set(), stop.is_set)
    assert caught.value.kind == "interrupted"
    assert source.objects() == before
    assert not (source.state / "scratch").exists()
    assert state.last(source.settings.state)["failed"] is None


def test_room_is_looked_for(source: BackupSource, monkeypatch: pytest.MonkeyPatch) -> None:
    source.back_up()
    monkeypatch.setattr(snapshot, "_SPARE", 1 << 60)
    with pytest.raises(AgentError, match="not enough room") as caught:
        verified(source)
    assert (caught.value.kind, newest(source).problem) == ("disk", "")


def test_there_must_be_one(source: BackupSource) -> None:
    with pytest.raises(AgentError, match="there is no backup in") as caught:
        serve(source.request("verify", id="", identity=""), "ada", source.events.append, lambda: False)
    assert caught.value.kind == "none"
    source.back_up()
    with pytest.raises(AgentError, match="there is no backup 2020 in"):
        serve(source.request("verify", id="2020", identity=""), "ada", source.events.append, lambda: False)
    answer = serve(source.request("verify", id="", identity=""), "ada", source.events.append, lambda: False)
    assert json.dumps(answer)
