"""Damage to artifacts in a backup, wherever it is, and an index that lies: found before anything is written."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from mlflow_provision.agent.backup.artifacts import index, known, wanted
from tests.agent.artifacts_box import Box, flip, lying, refused


def test_every_flipped_bit_of_every_pack_and_of_the_index_is_found(some: Box, tmp_path: Path) -> None:
    some.back_up()
    luck = random.Random(7)
    member = index.member_of(some.made[0])
    assert member
    for key in (some.made[0].packs[0].key, member.key):
        good = some.at(key).read_bytes()
        for where in (0, 3, 9, len(good) // 2, -1, -5, *(luck.randrange(len(good)) for _ in range(25))):
            flip(some.at(key), where)
            assert key in refused("damaged", some.check).message
            some.at(key).write_bytes(good)
        for content in (b"", good[:-1], good[: len(good) // 2], good + b"\0"):
            some.at(key).write_bytes(content)
            assert key in refused("damaged", some.check).message
        some.at(key).unlink()
        refused("damaged", some.check)
        some.at(key).write_bytes(good)
    some.check()


@pytest.mark.parametrize(
    "changes",
    [{"sha256": "0" * 64}, {"entry": 7}, {"entry": 1}, {"pack": "none"}, {"size": 13}, {"size": -1}, {"pack": ""}],
    ids=str,
)
def test_an_index_that_names_what_is_not_in_the_packs_is_found(some: Box, changes: dict[str, object]) -> None:
    some.back_up()
    refused("damaged", some.check, lying(some, changes))
    some.check(lying(some, {}))


@pytest.mark.parametrize(
    "path", ["../out", "/etc/out", "a/../../out", "a//b", ".", "..", "", "a/./b", "a\0b", "\ud800", "a/", "/"], ids=repr
)
def test_a_path_that_leads_out_of_the_folder_is_refused(some: Box, path: str, tmp_path: Path) -> None:
    some.back_up()
    lie = lying(some, {"path": path})
    refused("damaged", some.check, lie)
    refused("damaged", some.restore, tmp_path / "in" / "new", lie)
    assert not list(tmp_path.rglob("*out*"))


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [
        (b"link", b"file", True),
        (b"a/link", b"../file", True),
        (b"a/b/link", b"../../file", True),
        (b"a/link", b"./b/./c", True),
        (b"link", b"../file", False),
        (b"a/link", b"../../file", False),
        (b"a/link", b"b/../../file", False),  # b may be a link by then
        (b"a/link", b"b/..", False),
        (b"link", b"/etc/passwd", False),
        (b"link", b"", False),
        (b"link", b"..", False),
        (b"link", b"...", True),
    ],
)
def test_where_a_link_leads(path: bytes, target: bytes, inside: bool) -> None:
    assert index.stays_inside(path, target) is inside


def test_no_room_in_scratch_is_said_as_that(some: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some.back_up()
    real = known.scratch_database

    def small(path: str, script: str) -> sqlite3.Connection:
        return real(path, script + "; PRAGMA max_page_count = 1")

    monkeypatch.setattr(known, "_CACHE", 1)
    for module in (known, wanted):
        monkeypatch.setattr(module, "scratch_database", small)
    for number in range(300):
        some.write(f"9/{number}", f"content {number}")
    for action in (some.artifacts, some.check, lambda: some.restore(tmp_path / "new")):
        error = refused("disk", action)
        assert "database or disk is full" in error.message
        assert f"df -h {some.base / 'scratch'}" in error.hint
