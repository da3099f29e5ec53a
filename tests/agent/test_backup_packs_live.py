"""Artifacts are backed up while others write: what changes, vanishes or is interrupted makes no damaged backup."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_provision.agent.backup.artifacts import news, packs, reading
from mlflow_provision.agent.protocol import AgentError
from tests.agent.artifacts_box import OLD, Box, entries, tree


def touching(monkeypatch: pytest.MonkeyPatch, path: Path, change: object, times: int = 99) -> None:
    """Whenever this file has been read, something happens to it before anybody looks whether it did."""
    real, left = reading.Open.steady, [times]

    def steady(self: reading.Open) -> bool:
        if left[0] and os.fstat(self.descriptor).st_ino == path.stat().st_ino:
            left[0] -= 1
            assert callable(change)
            change()
        return real(self)

    monkeypatch.setattr(reading.Open, "steady", steady)
    monkeypatch.setattr(news, "_PAUSES", (0.0, 0.0, 0.0))


def growing(path: Path) -> None:
    """Its time does not show that it has just been written."""
    with path.open("ab") as file:
        file.write(b"more")
    os.utime(path, (OLD, OLD))


@pytest.mark.parametrize("size", [100, news._IN_MEMORY + 100])
def test_a_file_that_changes_once_is_read_again(
    some: Box, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = some.write("growing", b"g" * size)
    touching(monkeypatch, path, lambda: growing(path), 1)
    assert some.back_up().notes == ()
    some.check()
    some.restore(tmp_path / "new")
    assert tree(tmp_path / "new") == tree(some.folder)


@pytest.mark.parametrize("size", [100, news._IN_MEMORY + 100])
def test_a_file_that_never_stands_still_is_as_it_was_read_and_read_again_next_time(
    some: Box, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = some.write("gro\nwing", b"g" * size)
    with monkeypatch.context() as patch:
        touching(patch, path, lambda: growing(path))
        found = some.back_up()
    assert found.notes == ("gro\\nwing changed while it was read, and is as it was read",)
    some.check()
    some.restore(tmp_path / "new")
    restored = (tmp_path / "new" / "gro\nwing").read_bytes()
    assert path.read_bytes().startswith(restored)
    assert len(restored) >= size
    (_, entry) = next(item for item in entries(some).items() if item[0] == b"gro\nwing")
    path.write_bytes(b"d" * len(restored))  # as large, and as old, as what was noted
    os.utime(path, ns=(0, int(str(entry["mtime_ns"]))))
    assert some.back_up().new_bytes == len(restored)


@pytest.mark.parametrize("size", [100, news._IN_MEMORY + 100])
def test_a_file_that_shrinks_while_it_is_read_makes_no_damaged_backup(
    some: Box, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = some.write("shrinking", b"s" * size)
    real = reading.Open.pieces

    def pieces(self: reading.Open) -> Iterator[bytes]:
        for piece in real(self):
            yield piece[: len(piece) // 2] if self.size == size else piece
            if self.size == size:
                return

    monkeypatch.setattr(reading.Open, "pieces", pieces)
    monkeypatch.setattr(news, "_PAUSES", (0.0, 0.0, 0.0))
    found = some.back_up()
    assert found.notes[0].startswith("shrinking ")
    some.check()
    some.restore(tmp_path / "new")
    if size > news._IN_MEMORY:
        assert b"shrinking" not in entries(some)
    else:
        assert (tmp_path / "new" / "shrinking").read_bytes() == b"s" * (size // 2)
    assert path.exists()


def test_what_vanishes_between_looking_and_reading_is_in_no_backup(some: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    real = reading.opened

    def opened(root: int, path: bytes) -> reading.Open | None:
        if path.endswith(b"plot.png"):
            shutil.rmtree(some.folder / "1" / "bb")
        if path.endswith(b"MLmodel"):
            (some.folder / os.fsdecode(path)).unlink()
            os.mkfifo(some.folder / os.fsdecode(path))  # to open it would hang
        return real(root, path)

    monkeypatch.setattr(reading, "opened", opened)
    found = some.back_up()
    assert (found.files, len(found.packs)) == (1, 1)
    some.check()


def test_what_becomes_a_link_between_looking_and_reading_is_not_followed(
    some: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in ("MLmodel", "plot.png"):
        (secret / name).write_text("do not take me")
    real = reading.opened

    def opened(root: int, path: bytes) -> reading.Open | None:
        if path.endswith(b"MLmodel"):
            (some.folder / os.fsdecode(path)).unlink()
            (some.folder / os.fsdecode(path)).symlink_to(secret / "MLmodel")
        if path.endswith(b"plot.png"):
            shutil.rmtree(some.folder / "1/bb/artifacts")
            (some.folder / "1/bb/artifacts").symlink_to(secret)
        return real(root, path)

    monkeypatch.setattr(reading, "opened", opened)
    assert some.back_up().files == 1
    some.check()


def test_a_folder_that_others_fill_and_empty_the_whole_time(some: Box, tmp_path: Path) -> None:
    stop = threading.Event()

    def churn() -> None:
        luck = random.Random(6)
        while not stop.is_set():
            path = some.folder / f"7/{luck.randrange(30)}/file"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(luck.randbytes(luck.randrange(50_000)))
                if luck.random() < 0.4:
                    shutil.rmtree(path.parent)
            except OSError:
                pass

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for number in range(4):
            some.back_up()
            some.check()
            some.restore(tmp_path / f"new{number}")
    finally:
        stop.set()
        thread.join()
    some.back_up()
    some.check()
    some.restore(tmp_path / "last")
    assert tree(tmp_path / "last") == tree(some.folder)


def test_a_change_just_after_the_backup_that_shows_neither_in_size_nor_time_is_seen(some: Box) -> None:
    now = time.time_ns()
    path = some.folder / "1" / "quick"
    path.write_bytes(b"before")
    os.utime(path, ns=(now, now))
    some.back_up()
    path.write_bytes(b"after!")
    os.utime(path, ns=(now, now))
    assert some.back_up().new_bytes == 6


def test_it_stops_when_asked_and_leaves_no_object_that_was_not_announced(some: Box) -> None:
    asked: list[str] = []
    for moment in range(1, 200):
        calls = iter(range(moment))

        def stopping(calls: Iterator[int] = calls) -> bool:
            return next(calls, None) is None

        scratch = str(some.base / "scratch")
        try:
            packs.back_up(
                str(some.folder), some.store, None, some.encryption, scratch, lambda *n: None, stopping, asked.append
            )
        except AgentError as error:
            assert error.kind == "interrupted"
            assert set(some.stored()) <= set(asked)  # whoever noted them can remove them
            some.store.delete(some.stored())
        else:
            break
    assert asked
    assert set(some.stored()) <= set(asked)
