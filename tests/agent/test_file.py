"""A file becomes what it should be: atomically, and never readable by others for a moment."""

from __future__ import annotations

import grp
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.file import File, replace
from tests.agent.converge import found, mend, needs_root

CONTENT = "port = 5000\nregion = eu-west-1\n"


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File("it", str(tmp_path / "settings"), CONTENT, 0o640)


def test_a_missing_file_is_created(file: File) -> None:
    assert mend(file) == "create 0640"
    assert Path(file.path).read_text() == CONTENT
    assert Path(file.path).stat().st_mode & 0o7777 == 0o640


def _other_content(path: Path) -> None:
    path.write_text(CONTENT.replace("5000", "6000"))


def _other_mode(path: Path) -> None:
    path.chmod(0o666)


def _cut_short(path: Path) -> None:
    path.write_text(CONTENT[:7])


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("damage", "summary"),
    [
        (_other_content, "update"),
        (_other_mode, "mode 0666 → 0640"),
        (_cut_short, "update"),
        (_link, "create 0640"),
        (Path.unlink, "create 0640"),
    ],
)
def test_damage_is_seen_and_mended(file: File, damage: Callable[[Path], None], summary: str) -> None:
    mend(file)
    damage(Path(file.path))
    assert mend(file) == summary
    path = Path(file.path)
    assert (path.read_text(), path.stat().st_mode & 0o7777, path.is_symlink()) == (CONTENT, 0o640, False)


def test_what_a_link_pointed_to_is_left_alone(file: File, tmp_path: Path) -> None:
    (tmp_path / "of-someone-else").write_text("theirs")
    Path(file.path).symlink_to(tmp_path / "of-someone-else")
    mend(file)
    assert (tmp_path / "of-someone-else").read_text() == "theirs"


@needs_root
def test_another_owner_is_seen_and_mended(tmp_path: Path) -> None:
    file = File("it", str(tmp_path / "settings"), CONTENT, 0o640, "root", "daemon")
    mend(file)
    os.chown(file.path, 65534, 65534)
    assert mend(file).startswith("owner ")
    info = Path(file.path).stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (0, grp.getgrnam("daemon").gr_gid, 0o640)


def test_an_owner_that_does_not_exist_yet_is_a_change_and_no_crash(tmp_path: Path) -> None:
    file = File("it", str(tmp_path / "settings"), CONTENT, 0o644, "no-such-user", "no-such-user")
    (tmp_path / "settings").write_text(CONTENT)
    assert "no-such-user" in found(file)


def test_a_folder_in_its_place_is_never_removed(file: File) -> None:
    Path(file.path).mkdir()
    (Path(file.path) / "precious").write_text("data")
    with pytest.raises(AgentError, match="is a folder") as caught:
        file.check(Context())
    assert file.path in caught.value.hint
    assert (Path(file.path) / "precious").exists()


def test_the_diff_is_unified(file: File) -> None:
    Path(file.path).write_text(CONTENT.replace("5000", "6000"))
    change = file.check(Context())
    assert change is not None
    assert change.diff.splitlines() == [
        "--- " + file.path,
        "+++ " + file.path,
        "@@ -1,2 +1,2 @@",
        "-port = 6000",
        "+port = 5000",
        " region = eu-west-1",
    ]


def test_bytes_that_are_no_text_are_replaced(file: File) -> None:
    Path(file.path).write_bytes(b"\xff\xfe\x00binary")
    assert mend(file).startswith("update")


@pytest.mark.parametrize("moment", ["os.rename", "os.chmod"])
def test_killed_before_the_rename_the_old_file_stands_and_the_next_run_leaves_no_litter(
    file: File, tmp_path: Path, moment: str
) -> None:
    Path(file.path).write_text("old")
    child = os.fork()
    if child == 0:
        sys.addaudithook(lambda event, arguments: os._exit(99) if event == moment else None)
        file.apply(Context())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 99
    assert Path(file.path).read_text() == "old"
    mend(file)
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings"]


def test_a_reader_always_sees_a_whole_file(tmp_path: Path) -> None:
    path, texts = tmp_path / "settings", {"a" * 100_000, "b" * 100_000}
    replace(str(path), "a" * 100_000, 0o600)
    seen = set(_watch(lambda: replace(str(path), "b" * 100_000, 0o600), path.read_text))
    assert seen == texts


@pytest.mark.parametrize(("mode", "never"), [(0o600, 0o077), (0o640, 0o027)])
def test_a_secret_is_closed_to_others_at_every_moment(tmp_path: Path, mode: int, never: int) -> None:
    def open_to_others() -> list[str]:
        return [
            f"{entry.name} {entry.lstat().st_mode:o}" for entry in tmp_path.iterdir() if entry.lstat().st_mode & never
        ]

    path = tmp_path / "credentials"
    file = File("it", str(path), "key = CANARY\n", mode, secret_keys=("key",))
    umask = os.umask(0)
    try:
        first = _watch(lambda: file.apply(Context()), open_to_others)
        path.write_text("key = old\n")
        again = _watch(lambda: file.apply(Context()), open_to_others)
    finally:
        os.umask(umask)
    assert len(first) > 10
    assert [moment for moment in first + again if moment] == []


def _watch(action: Callable[[], None], look: Callable[[], Any]) -> list[Any]:
    """What `look` sees before every single line of Python that runs in `action`."""
    seen: list[Any] = []

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            sys.settrace(None)
            seen.append(look())
            sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return seen
