"""What is listed is a backup; what is not one is not; and which is the newest does not depend on any clock."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.backup import listing
from mlflow_provision.agent.backup.listing import listed, readable, shown
from mlflow_provision.agent.backup.manifest import Manifest, Member, decode, encode
from mlflow_provision.agent.backup.stores.base import missing
from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.protocol import AgentError


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path))


def manifest(id: str, sequence: int, **more: Any) -> Manifest:
    member = Member("mlflow.db", f"{id}/mlflow.db.gz", 10, "0" * 64, 4, "1" * 64)
    made = Manifest(
        id=id,
        sequence=sequence,
        deployment="server",
        host="box",
        reason="by hand",
        started=1e9,
        seconds=2.0,
        tool_version="0.9",
        mlflow_version="3.17.2",
        python_version="3.11.7",
        sqlite_version="3.40.1",
        members=(member,),
        schema={"mlflow.db": "abc"},
        rows={"mlflow.db": {"runs": 3}},
    )
    return replace(made, **more)


def put(store: FolderStore, made: Manifest, content: bytes | None = None) -> None:
    for key, data in ((f"{made.id}/mlflow.db.gz", b"1234"), (f"{made.id}/manifest.json", content or encode(made))):
        with store.put(key) as writer:
            writer.write(data)


def test_the_newest_is_first_by_number_not_by_time(store: FolderStore) -> None:
    for id, sequence in (
        ("20300101T000000Z-aaaaaa", 1),
        ("20200101T000000Z-bbbbbb", 3),
        ("20250101T000000Z-cccccc", 2),
    ):
        put(store, manifest(id, sequence))
    assert [backup.id[:4] for backup in listed(store)] == ["2020", "2025", "2030"]


def test_without_a_manifest_there_is_no_backup(store: FolderStore) -> None:
    put(store, manifest("20200101T000000Z-bbbbbb", 1))
    with store.put("20210101T000000Z-cccccc/mlflow.db.gz") as writer:
        writer.write(b"half")
    Path(store.title, "20210101T000000Z-cccccc", ".manifest.json.x.unfinished").write_bytes(b"{")
    assert [backup.id for backup in listed(store)] == ["20200101T000000Z-bbbbbb"]


def test_nothing_at_all_is_an_empty_list(store: FolderStore) -> None:
    shutil.rmtree(store.title)
    assert listed(store) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is damaged"),
        (b"[]", "is damaged"),
        (b"null", "is damaged"),
        (b'{"manifest": {}, "sha256": ""}', "is damaged: its sum is not that of its content"),
        (b"\xff\xfe", "is damaged"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_listed_with_why_at_its_place(
    store: FolderStore, content: bytes, problem: str
) -> None:
    put(store, manifest("20200101T000000Z-aaaaaa", 1))
    put(store, manifest("20210101T000000Z-bbbbbb", 2), content or b" ")
    put(store, manifest("20220101T000000Z-cccccc", 3))
    found = listed(store)
    assert [backup.id[:4] for backup in found] == ["2022", "2021", "2020"]
    assert (found[1].manifest, problem in found[1].problem) == (None, True)
    document = shown(found[1])
    assert (document["id"], document["size"], document["started"]) == ("20210101T000000Z-bbbbbb", 0, 0.0)
    with pytest.raises(AgentError, match="cannot be read") as caught:
        readable(store, found, "20210101T000000Z-bbbbbb")
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize(
    "key", ["../other/x", "/etc/passwd", "packs/x", "other-id/mlflow.db", "x/y/z", "id/.hidden", "id/"]
)
def test_a_manifest_leads_nowhere_but_to_its_own(key: str) -> None:
    made = manifest("id", 1)
    strange = replace(made, members=(replace(made.members[0], key=key),))
    with pytest.raises(AgentError, match="is no part of it") as caught:
        decode(encode(strange), "it", "id")
    assert caught.value.kind == "damaged"
    with pytest.raises(AgentError, match="is no part of it"):
        decode(encode(replace(made, packs=(replace(made.members[0], key=f"../{key}"),))), "it", "id")


def test_the_manifest_of_another_is_refused(store: FolderStore) -> None:
    put(store, manifest("20210101T000000Z-bbbbbb", 2), encode(manifest("20220101T000000Z-cccccc", 3)))
    assert "it is that of the backup 20220101T000000Z-cccccc" in listed(store)[0].problem


def test_one_of_a_newer_tool_says_what_to_do() -> None:
    made = replace(manifest("id", 1), format=99, tool_version="7.0")
    with pytest.raises(AgentError, match=r"written by a newer mlflow-provision \(7\.0\)") as caught:
        decode(encode(made), "it", "id")
    assert (caught.value.kind, "upgrade" in caught.value.hint) == ("format", True)


def test_what_a_newer_tool_adds_to_this_format_is_no_damage() -> None:
    import hashlib

    data = json.loads(encode(manifest("id", 1)))["manifest"]
    data["mood"] = "good"
    data["members"][0]["colour"] = "red"
    words = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
    document = json.dumps({"manifest": data, "sha256": hashlib.sha256(words).hexdigest()}).encode()
    assert decode(document, "it", "id") == manifest("id", 1)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda path: path.unlink(), "/mlflow.db.gz is missing"),
        (lambda path: os.truncate(path, 1), "/mlflow.db.gz has 1 bytes, not 4"),
    ],
)
def test_a_part_that_is_missing_or_cut_is_seen_without_fetching_it(
    store: FolderStore, harm: Callable[[Path], None], problem: str
) -> None:
    made = manifest("20200101T000000Z-bbbbbb", 1)
    put(store, made)
    harm(Path(store.title, made.members[0].key))
    (found,) = listed(store)
    assert (found.manifest, found.problem) == (made, made.id + problem)


def test_a_pack_counts_too(store: FolderStore) -> None:
    pack = Member("packs/x.tar", "packs/x.tar.gz", 1, "0" * 64, 1, "0" * 64)
    put(store, manifest("20200101T000000Z-bbbbbb", 1, packs=(pack,)))
    assert listed(store)[0].problem == "packs/x.tar.gz is missing"


def test_many_are_read_at_once_and_none_is_lost(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        put(store, manifest(f"20200101T0000{number:02}Z-bbbbbb", number))
    together = threading.Barrier(listing._AT_ONCE, timeout=10)
    read, first = store.read, iter(range(listing._AT_ONCE))

    def slow(key: str) -> bytes:
        if next(first, None) is not None:
            together.wait()
        return read(key)

    monkeypatch.setattr(store, "read", slow)
    assert [backup.manifest.sequence for backup in listed(store) if backup.manifest] == list(range(29, -1, -1))


def test_one_that_is_deleted_meanwhile_is_not_listed(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, manifest("20200101T000000Z-bbbbbb", 1))

    def gone(key: str) -> bytes:
        raise missing(key)

    monkeypatch.setattr(store, "read", gone)
    assert listed(store) == []


def test_a_store_that_fails_is_no_empty_list(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, manifest("20200101T000000Z-bbbbbb", 1))

    def lost(key: str) -> bytes:
        raise AgentError("the connection was lost", kind="store")

    monkeypatch.setattr(store, "read", lost)
    with pytest.raises(AgentError, match="the connection was lost"):
        listed(store)


def test_what_answers_carry(store: FolderStore) -> None:
    put(store, manifest("20200101T000000Z-bbbbbb", 1, artifacts={"files": 2, "bytes": 90}))
    document = shown(listed(store)[0])
    assert (
        json.loads(json.dumps(document))
        == document
        == {
            "id": "20200101T000000Z-bbbbbb",
            "sequence": 1,
            "deployment": "server",
            "host": "box",
            "reason": "by hand",
            "started": 1e9,
            "seconds": 2.0,
            "size": 100,
            "stored_size": 4,
            "mlflow_version": "3.17.2",
            "tool_version": "0.9",
            "schema": {"mlflow.db": "abc"},
            "rows": {"mlflow.db": {"runs": 3}},
            "artifacts": {"files": 2, "bytes": 90},
            "encryption": {},
            "verified": None,
            "problem": "",
        }
    )
