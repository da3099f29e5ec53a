"""What the next backup builds on: only what is there, whole, and opened by the same key."""

from __future__ import annotations

import gzip
import os
import sys
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from mlflow_provision.agent.backup.artifacts import index, packs, previous
from mlflow_provision.agent.backup.codec import Key
from mlflow_provision.agent.backup.settings import Encryption
from tests.agent.artifacts_box import Box, flip, never, refused, tree


def test_without_the_kept_index_it_is_taken_from_the_store(some: Box) -> None:
    some.back_up(remember=False)
    assert list((some.base / "state").iterdir()) == []
    last = some.previous()
    assert last
    assert last.index.startswith(str(some.base / "scratch"))
    Path(last.index).unlink()


def test_a_kept_index_that_is_another_s_or_damaged_is_not_used(some: Box) -> None:
    some.back_up()
    kept = some.base / "state" / "artifacts.jsonl.gz"
    for content in (b"", b"nonsense", kept.read_bytes()[:-20], gzip.compress(b"{}")):
        kept.write_bytes(content)
        last = some.previous()
        assert last
        assert last.index != str(kept)
        Path(last.index).unlink()


def test_with_an_index_that_is_damaged_in_both_places_an_older_one_serves(some: Box) -> None:
    some.back_up()
    some.write("new", "new")
    some.back_up()
    (some.base / "state" / "artifacts.jsonl.gz").unlink()
    member = index.member_of(some.made[0])
    assert member
    flip(some.at(member.key), 40)
    last = some.previous()
    assert last
    assert last.packs == some.made[1].packs
    Path(last.index).unlink()


def test_what_another_could_not_open_is_not_used_again(some: Box) -> None:
    some.back_up()
    some.made[0] = replace(some.made[0], encryption={"recipient": "age1other"})
    assert some.previous() is None
    some.made[0] = replace(some.made[0], encryption={}, deployment="another")
    assert some.previous() is None
    some.made[0] = replace(some.made[0], deployment="server", members=(), artifacts=None)
    assert some.previous() is None


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_pack_that_is_not_there_any_more_is_made_anew(some: Box, damage: str) -> None:
    some.back_up()
    path = some.at(some.stored()[0])
    path.unlink() if damage == "gone" else os.truncate(path, 1000)
    assert some.back_up().new_bytes == 305_012
    some.check()


def test_a_pack_that_a_check_found_damaged_is_not_used_again(some: Box) -> None:
    some.back_up()
    some.write("good", "good")
    some.back_up()
    first = next(pack for pack in some.made[0].packs if pack in some.made[1].packs)
    content = some.at(first.key).read_bytes()
    flip(some.at(first.key), 1000)
    for look in (
        some.check,
        lambda: packs.check_sums(some.store, some.made[0], str(some.base / "state"), print, never),
    ):
        assert first.key in refused("damaged", look).message
    assert some.back_up().new_bytes == 305_012
    assert first not in some.made[0].packs
    some.check()
    some.at(first.key).write_bytes(content)
    some.check(some.made[1])
    assert previous.damaged_packs(str(some.base / "state")) == set()


def test_packs_that_vanish_during_a_backup_make_it_fail(some: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    some.back_up()
    some.write("new", "new")
    monkeypatch.setattr(packs._Backup, "_pack", lambda self: some.at(some.stored()[0]).unlink())
    assert "vanished" in refused("failed", some.artifacts).message


def test_encrypted_the_host_builds_on_what_it_keeps_and_never_needs_the_key(some: Box, tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    some.encryption = Encryption(str(identity.to_public()), {}, sys.executable)
    some.key = Key("", sys.executable)
    some.back_up()
    some.write("new", "new")
    assert some.back_up().new_bytes == 3
    assert all(key.endswith(".tar.gz.age") for key in some.stored())
    refused("key", some.check)
    packs.check_sums(some.store, some.made[0], str(some.base / "state"), lambda done, total: None, never)
    some.key = Key(str(identity), sys.executable)
    assert some.check().files == 4
    some.restore(tmp_path / "new")
    assert tree(tmp_path / "new") == tree(some.folder)


def test_with_another_recipient_or_none_all_is_stored_anew(some: Box) -> None:
    some.back_up()
    for encryption in (
        Encryption(str(pyrage.x25519.Identity.generate().to_public()), {}, sys.executable),
        Encryption(str(pyrage.x25519.Identity.generate().to_public()), {}, sys.executable),
    ):
        some.encryption, some.key = encryption, Key("", sys.executable)
        assert some.back_up().new_bytes == 305_012
        assert not set(some.made[0].packs) & set(some.made[1].packs)
        (some.base / "state" / "artifacts.jsonl.gz").unlink()
        assert some.previous() is None  # encrypted, and the host cannot open it
    some.encryption = Encryption()
    assert some.back_up().new_bytes == 0  # the first one was open, and still is
    assert all(key.key.endswith(".tar.gz") for key in some.made[0].packs)
