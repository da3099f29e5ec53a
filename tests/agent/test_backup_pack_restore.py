"""Artifacts are put back: nothing that is there is lost, and a restore that was killed goes on."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_provision.agent.backup.artifacts import pack_restore, packs, placing
from mlflow_provision.agent.backup.artifacts import tree as trees
from mlflow_provision.agent.protocol import AgentError
from tests.agent.artifacts_box import Box, flip, lying, never, refused, tree


def test_what_is_equal_stays_what_differs_moves_aside_what_is_new_is_kept(some: Box) -> None:
    some.write("other time", "equal")
    some.back_up()
    before = tree(some.folder)
    (some.folder / "1/bb/artifacts/plot.png").unlink()
    some.write("1/aa/artifacts/model/MLmodel", "changed meanwhile")
    some.write("newer than the backup", "newer")
    os.utime(some.folder / "other time", (1, 1))
    (some.folder / "other time").chmod(0o600)
    inode = (some.folder / "other time").stat().st_ino
    restored = some.restore(some.folder)
    assert restored == packs.Restored(2, 2, 1, 5_012, ())
    after = tree(some.folder)
    assert after.pop(b"newer than the backup")[-1] == b"newer"
    assert after == before
    assert (some.folder / "other time").stat().st_ino == inode
    aside = {path: content[-1] for path, content in tree(some.base / "aside").items() if content[0] == "file"}
    assert aside == {b"1/aa/artifacts/model/MLmodel": b"changed meanwhile"}


def test_a_second_restore_has_nothing_to_do(some: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    some.back_up()
    shutil.rmtree(some.folder / "1")
    some.restore(some.folder)
    monkeypatch.setattr(pack_restore, "load_stream", None)  # no pack is read
    assert some.restore(some.folder) == packs.Restored(0, 3, 0, 0, ())


def test_things_of_another_kind_move_aside(some: Box, tmp_path: Path) -> None:
    (some.folder / "1" / "link").symlink_to("aa")
    some.back_up()
    before = tree(some.folder)
    shutil.rmtree(some.folder / "1")
    some.write("1", "a file where a folder was")
    target = tmp_path / "new"
    some.restore(some.folder)
    assert tree(some.folder) == before
    # A folder where a file was, a link where a folder was, another link where a link was.
    target.mkdir()
    outside = tmp_path / "outside"
    (outside / "aa").mkdir(parents=True)
    (target / "1").symlink_to(outside)
    some.restore(target)
    assert tree(target) == before
    assert list((outside / "aa").iterdir()) == []
    (target / "1/bb/artifacts/plot.png").unlink()
    (target / "1/bb/artifacts/plot.png/deep").mkdir(parents=True)
    (target / "1/link").unlink()
    (target / "1/link").symlink_to("elsewhere")
    assert some.restore(target).aside == 2
    assert tree(target) == before


def test_what_moves_aside_twice_is_kept_twice(some: Box) -> None:
    some.back_up()
    for content in ("one", "two", "three"):
        some.write("1/aa/artifacts/model/MLmodel", content)
        some.restore(some.folder)
    kept = [content[-1] for content in tree(some.base / "aside").values() if content[0] == "file"]
    assert sorted(map(str, kept)) == ["b'one'", "b'three'", "b'two'"]


def test_it_moves_aside_to_another_disk(some: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == some.base.stat().st_dev:
        pytest.skip("no other disk here")
    some.back_up()
    before = tree(some.folder)
    shutil.rmtree(some.folder / "1/aa/artifacts/model")
    some.write("1/aa/artifacts/model", "a file where a folder was")
    (some.folder / "1/bb/artifacts/plot.png").unlink()
    (some.folder / "1/bb/artifacts/plot.png/deep").mkdir(parents=True)
    aside = other / f"aside-{os.getpid()}"
    try:
        manifest, scratch = some.made[0], str(some.base / "scratch")
        packs.restore(some.store, manifest, some.key, str(some.folder), scratch, str(aside), print, never)
        assert tree(some.folder) == before
        assert (aside / "1/aa/artifacts/model").read_text() == "a file where a folder was"
        assert (aside / "1/bb/artifacts/plot.png/deep").is_dir()
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def test_folders_that_forbid_writing_come_back_so(some: Box, tmp_path: Path) -> None:
    (some.folder / "1/aa").chmod(0o550)
    some.back_up()
    some.restore(tmp_path / "new")
    assert tree(tmp_path / "new") == tree(some.folder)
    (some.folder / "1/aa").chmod(0o750)


def test_a_restore_that_was_killed_anywhere_goes_on(some: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = random.Random(8).randbytes(70_000)
    for number in range(6):
        some.write(f"8/{number}/content", same if number % 2 else f"content {number}" * 900)
    some.back_up()

    class Killed(BaseException):
        pass

    target, real, done = tmp_path / "new", placing._write, False
    for moment in range(1, 40):
        left = [moment]

        def write(descriptor: int, piece: memoryview, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                os.write(descriptor, piece[: len(piece) // 2])
                raise Killed
            real(descriptor, piece)

        monkeypatch.setattr(placing, "_write", write)
        shutil.rmtree(target, ignore_errors=True)
        try:
            some.restore(target)
            done = True
        except Killed:
            for scratch in (some.base / "scratch").iterdir():
                scratch.unlink()
        left[0] = 999
        for path, found in tree(target).items():  # nobody ever sees half a file
            assert found[0] != "file" or found[-1] == tree(some.folder)[path][-1]
        # A kill -9 would leave the unfinished file too.
        next(path for path in [target, *target.rglob("*")][::-1] if path.is_dir()).joinpath(
            os.fsdecode(trees.PART)
        ).touch()
        some.restore(target)
        restored = tree(target)
        for path in [path for path in restored if path.endswith(trees.PART)]:
            assert restored.pop(path)[-1] == b""
        assert restored == tree(some.folder)
        if done:
            break
    assert done


def test_unfinished_files_are_in_no_backup(some: Box) -> None:
    some.write("1/" + os.fsdecode(trees.PART), "half")
    assert some.back_up().files == 3


def test_with_a_damaged_pack_all_else_is_restored(some: Box, tmp_path: Path) -> None:
    some.back_up()
    some.write("later", "later")
    some.back_up()
    first = some.made[1].packs[0]
    flip(some.at(first.key), some.at(first.key).stat().st_size // 2)
    error = refused("damaged", some.restore, tmp_path / "new")
    assert (tmp_path / "new" / "later").read_text() == "later"
    assert "cannot be restored" in error.message or "is lost" in error.message
    for path, found in tree(tmp_path / "new").items():
        assert found == tree(some.folder)[path]


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"entry": 7}, {"pack": "none"}, {"size": 13}], ids=str)
def test_what_the_packs_do_not_hold_is_not_restored(some: Box, tmp_path: Path, changes: dict[str, object]) -> None:
    some.back_up()
    lie = lying(some, changes)
    refused("damaged", some.restore, tmp_path / "new", lie)
    assert not (tmp_path / "new/1/aa/artifacts/model/MLmodel").exists()


def test_a_link_out_of_the_folder_is_not_restored_from_an_index_that_has_one(some: Box, tmp_path: Path) -> None:
    some.back_up()
    lie = lying(some, {"kind": "link", "target": "/etc/passwd"})
    lie = replace(lie, artifacts={"files": 2, "bytes": 305_000})
    assert some.restore(tmp_path / "new", lie).notes == ("1 symbolic links lead out of the folder: left out",)
    assert not (tmp_path / "new/1/aa/artifacts/model/MLmodel").is_symlink()


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    some: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some.back_up()
    real = os.fstatvfs(os.open(tmp_path, os.O_RDONLY))
    small = os.statvfs_result((*real[:2], 100, 1, 1, *real[5:10]))
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: small)
    with pytest.raises(AgentError, match="are free"):
        some.restore(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_full_disk_says_where(some: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    some.back_up()

    def full(descriptor: int, piece: memoryview) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(placing, "_write", full)
    with pytest.raises(AgentError, match="cannot be restored: No space left on device"):
        some.restore(tmp_path / "new")
    assert not list((tmp_path / "new").rglob("*part*"))


def test_an_index_without_folders_does_not_lead_through_links_either(some: Box, tmp_path: Path) -> None:
    some.back_up()
    target, outside = tmp_path / "new", tmp_path / "outside"
    (outside / "aa" / "artifacts").mkdir(parents=True)
    (target / "1").mkdir(parents=True)
    (target / "1" / "aa").symlink_to(outside / "aa")
    (target / "1" / "bb").symlink_to(outside / "aa")
    assert some.restore(target, lying(some, {}, folders=False)).written == 3
    assert [path.name for path in outside.rglob("*")] == ["aa", "artifacts"]
    assert (target / "1/bb/artifacts/plot.png").read_bytes() == (some.folder / "1/bb/artifacts/plot.png").read_bytes()


def test_an_index_of_another_backup_is_not_restored(some: Box, tmp_path: Path) -> None:
    some.back_up()
    other = replace(some.made[0], artifacts={"files": 2, "bytes": 305_012})
    refused("damaged", some.restore, tmp_path / "new", other)
    refused("damaged", some.check, other)
    assert not list((tmp_path / "new").iterdir())
