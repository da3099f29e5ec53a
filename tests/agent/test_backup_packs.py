"""The artifacts folder in a backup: incremental, each content once, whatever names and kinds of files it has."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_provision.agent.backup.artifacts import index, news, packs
from tests.agent.artifacts_box import OLD, Box, entries, refused, tree


def test_what_was_backed_up_comes_back_with_modes_and_times(some: Box, tmp_path: Path) -> None:
    (some.folder / "2" / "nothing in it").mkdir(parents=True)
    some.write("empty", "").chmod(0o640)
    (some.folder / "1" / "latest").symlink_to("aa/artifacts")
    (some.folder / "1").chmod(0o750)
    os.utime(some.folder / "1", ns=(5, OLD * 10**9 + 123_456_789))
    os.utime(some.folder / "empty", ns=(5, OLD * 10**9 + 987_654_321))
    found = some.back_up()
    assert (found.files, found.bytes, found.new_bytes) == (4, 305_012, 305_012)
    assert found.notes == ()
    assert some.check() == packs.Checked(4, 305_012, 1)
    restored = some.restore(tmp_path / "new")
    assert restored == packs.Restored(4, 0, 0, 305_012, ())
    assert tree(tmp_path / "new") == tree(some.folder)
    assert (tmp_path / "new" / "1").stat().st_mtime_ns == OLD * 10**9 + 123_456_789
    assert not (some.base / "aside").exists()


def test_the_second_backup_stores_nothing_when_nothing_has_changed(some: Box) -> None:
    some.back_up()
    before = some.stored()
    found = some.back_up()
    assert (found.files, found.new_bytes) == (3, 0)
    assert some.stored() == before
    assert found.packs == some.made[1].packs
    assert some.told[-1][0] == some.told[-1][1]
    some.check()


def test_the_next_backup_stores_only_what_is_new(some: Box, tmp_path: Path) -> None:
    some.back_up()
    some.write("1/cc/artifacts/new.txt", "new")
    some.write("1/bb/artifacts/plot.png", random.Random(3).randbytes(5_000), OLD + 1)
    (some.folder / "1/aa/artifacts/model/MLmodel").unlink()
    found = some.back_up()
    assert (found.files, found.new_bytes, len(found.packs)) == (3, 5_003, 2)
    some.check()
    some.restore(tmp_path / "new")
    assert tree(tmp_path / "new") == tree(some.folder)
    some.check(some.made[1])


def test_a_pack_that_nothing_needs_any_more_is_not_named(some: Box) -> None:
    some.back_up()
    shutil.rmtree(some.folder / "1")
    some.write("2/dd/artifacts/other", "other")
    assert len(some.back_up().packs) == 1
    assert not set(some.made[0].packs) & set(some.made[1].packs)


def test_equal_content_is_stored_once_under_any_name(some: Box, tmp_path: Path) -> None:
    same = random.Random(4).randbytes(news._IN_MEMORY + 1000)
    for name in "xyz":
        some.write(f"3/{name}/large", same)
        some.write(f"3/{name}/small", "the same")
    os.link(some.folder / "3/x/large", some.folder / "3/hard link")
    found = some.back_up()
    assert found.new_bytes == 305_012 + len(same) + 8
    some.check()
    some.restore(tmp_path / "new")
    assert tree(tmp_path / "new") == tree(some.folder)
    some.write("4/moved", same)
    assert some.back_up().new_bytes == 0
    assert all(done <= total for done, total in some.told)


def test_a_pack_is_a_tar_that_any_tar_opens(some: Box, tmp_path: Path) -> None:
    some.write("long " + "n" * 240 + "/" + "m" * 240, "x")
    some.back_up()
    (pack,) = some.made[0].packs
    assert pack.name == f"packs/{index.pack_id(pack)}.tar"
    (tmp_path / "by hand").mkdir()
    subprocess.run(["tar", "xzf", some.at(pack.key), "-C", tmp_path / "by hand"], check=True)
    for path, entry in entries(some).items():
        if entry["kind"] == "file":
            assert (tmp_path / "by hand" / os.fsdecode(path)).read_bytes() == (
                some.folder / os.fsdecode(path)
            ).read_bytes()


def test_packs_are_filled_up_and_large_files_are_alone(
    some: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packs, "PACK", 100_000)
    monkeypatch.setattr(packs, "ENTRIES", 5)
    luck = random.Random(5)
    for number in range(20):
        some.write(f"5/{number:02}", luck.randbytes(15_000))
    some.write("5/07 large", luck.randbytes(60_000))
    for number in range(7):
        some.write(f"6/{number}", f"tiny {number}")
    found = some.back_up()
    content = [pack.size for pack in found.packs]
    assert len(content) == 8  # 29 small ones by five, and two large ones
    assert sorted(content)[-1] > 300_000
    some.check()
    some.restore(tmp_path / "new")
    assert tree(tmp_path / "new") == tree(some.folder)


HOSTILE = [
    b"new\nline\r\x1b[2J\t",
    b"not utf-8 \xff\xfe\x80",
    b"\xed\xb2\x80 surrogates as bytes",
    "ünïcödé 😀".encode(),
    b"-rf *",
    b'quo"te\\ and back',
    b"n" * 255,
    b" ",
    b"...",
    b"%s %(x)s {0}",
    b"LongLink\x7f",
]


def test_hostile_names(box: Box, tmp_path: Path) -> None:
    root = os.fsencode(box.folder)
    for number, name in enumerate(HOSTILE):
        folder = Path(os.fsdecode(root + b"/" + name))
        folder.mkdir()
        (folder / "link").symlink_to(os.fsdecode(name))
        for inner in HOSTILE:
            (folder / os.fsdecode(inner)).write_bytes(b"%d " % number + inner)
    box.back_up()
    box.check()
    box.restore(tmp_path / "new")
    assert tree(tmp_path / "new") == tree(box.folder)


def test_paths_longer_than_the_system_takes_at_once(box: Box, tmp_path: Path) -> None:
    def deep(root: Path, write: bool) -> bytes:
        current = os.open(root, os.O_RDONLY)
        for _ in range(40):
            if write:
                os.mkdir("d" * 200, dir_fd=current)
            following = os.open("d" * 200, os.O_RDONLY, dir_fd=current)
            os.close(current)
            current = following
        file = os.open("bottom", os.O_RDWR | os.O_CREAT, 0o644, dir_fd=current)
        if write:
            os.write(file, b"deep down")
        content = os.pread(file, 100, 0)
        os.close(file)
        os.close(current)
        return content

    deep(box.folder, True)
    box.back_up()
    box.check()
    box.restore(tmp_path / "new")
    assert deep(tmp_path / "new", False) == b"deep down"
    for folder in (box.folder, tmp_path / "new"):  # pytest could not remove it
        subprocess.run(["rm", "-rf", folder], check=True)


def test_links_are_never_followed_and_those_that_lead_out_are_said(some: Box, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("do not take me")
    (some.folder / "out").symlink_to(secret)
    (some.folder / "1" / "up and out").symlink_to("../../../secret")
    (some.folder / "1" / "dangling").symlink_to("nowhere")
    found = some.back_up()
    assert found.notes == ("2 symbolic links lead out of the folder: left out: out, …",)
    assert found.files == 3
    some.restore(tmp_path / "new")
    assert not (tmp_path / "new" / "out").is_symlink()
    assert str((tmp_path / "new" / "1" / "dangling").readlink()) == "nowhere"


def test_sockets_pipes_and_devices_are_left_out_and_said(some: Box) -> None:
    os.mkfifo(some.folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(some.folder)
        server.bind("so\ncket")
        os.chdir(here)
        found = some.back_up()
    assert found.notes == ("2 sockets, pipes or devices left out: pipe, …",)
    assert found.files == 3


def test_what_is_just_being_written_is_no_artifact(some: Box) -> None:
    """Neither MLflow's uploads nor what a restore or a move is writing: it has another name when it is whole."""
    some.write("1/aa/artifacts/.artifact.uploading.x6c1lxpz", "half")
    some.write("1/aa/artifacts/.mlflow-provision-part-0a1b", "half")
    some.write("1/aa/artifacts/.mlflow-provision-part", "half")
    some.write("1/aa/artifacts/.artifact", "whole")
    assert some.back_up().files == 4
    assert not [path for path in entries(some) if b"uploading" in path or b"provision" in path]


def test_the_folder_itself_may_be_behind_a_link(some: Box, tmp_path: Path) -> None:
    some.folder.rename(tmp_path / "large disk")
    (some.folder).symlink_to(tmp_path / "large disk")
    assert some.back_up().files == 3


def test_an_empty_folder_is_a_backup_but_not_when_it_was_full(box: Box) -> None:
    assert box.back_up().files == 0
    assert box.check() == packs.Checked(0, 0, 0)
    assert box.restore(box.base / "new") == packs.Restored(0, 0, 0, 0, ())
    file = box.write("1/x", "x")
    box.back_up()
    file.unlink()
    error = refused("source", box.artifacts)
    assert "the last backup has 1 files" in error.message
    (box.folder / ".empty").touch()  # as the hint says
    assert f"touch {box.folder}/.empty" in error.hint
    assert box.back_up().files == 1


def test_no_folder_is_an_error(box: Box) -> None:
    box.folder.rmdir()
    assert str(box.folder) in refused("source", box.artifacts).message


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to somebody else")
def test_a_file_that_cannot_be_read_is_an_error_and_lost_and_found_is_not(open_folder: Path) -> None:
    box = Box(open_folder / "box")
    box.write("1/theirs", "x").chmod(0o600)
    (box.folder / "lost+found").mkdir(mode=0o700)
    for path in [open_folder / "box", *(open_folder / "box").rglob("*")]:
        if path.name not in ("theirs", "lost+found"):
            os.chown(path, 65534, 65534)
    program = f"""
import os, sys
sys.path.insert(0, {str(Path.cwd())!r})
from pathlib import Path
from tests.agent.artifacts_box import Box
from mlflow_provision.agent.backup.artifacts import packs
from mlflow_provision.agent.protocol import AgentError
os.setgid(65534); os.setuid(65534)
box = Box.__new__(Box)
from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.backup.settings import Encryption
base = Path({str(open_folder / "box")!r})
def run():
    try:
        found = packs.back_up(str(base / "artifacts"), FolderStore(str(base / "place")), None, Encryption(),
            str(base / "scratch"), lambda *n: None, lambda: False)
        print(found.files)
    except AgentError as error:
        print(error.kind, error.message)
run()
(base / "artifacts" / "1" / "theirs").unlink()
(base / "artifacts" / "1" / "ours").write_text("x")
run()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "source an artifact cannot be read: Permission denied: 1/theirs\n1\n"
