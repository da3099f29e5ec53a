"""A folder gets its mode and owner; what is inside, and what somebody else made a link to, is left alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.directory import Directory
from tests.agent.converge import found, mend, needs_root


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory("it", str(tmp_path / "data"), 0o750)


def _mode(path: str) -> int:
    return Path(path).stat().st_mode & 0o7777


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_missing_folder_is_created(directory: Directory, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert mend(directory) == "create 0750"
    finally:
        os.umask(before)
    assert _mode(directory.path) == 0o750


def test_missing_parents_are_made(tmp_path: Path) -> None:
    mend(Directory("it", str(tmp_path / "a" / "b" / "c"), 0o700))
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_another_mode_is_seen_and_mended_and_the_content_stays(directory: Directory) -> None:
    mend(directory)
    (Path(directory.path) / "mlflow.db").write_text("rows")
    Path(directory.path).chmod(0o777)
    assert mend(directory) == "mode 0777 → 0750"
    assert (Path(directory.path) / "mlflow.db").read_text() == "rows"


@needs_root
@pytest.mark.parametrize(("uid", "gid", "shown"), [(0, -1, "root:daemon"), (-1, 0, "daemon:root"), (0, 0, "root:root")])
def test_another_owner_or_group_is_seen_and_mended(tmp_path: Path, uid: int, gid: int, shown: str) -> None:
    directory = Directory("it", str(tmp_path / "data"), 0o750, "daemon", "daemon")
    mend(directory)
    os.chown(directory.path, uid, gid)
    assert mend(directory) == f"owner {shown} → daemon:daemon"
    assert (Path(directory.path).owner(), Path(directory.path).group()) == ("daemon", "daemon")


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")], ids=["file", "dangling link"])
def test_something_else_in_its_place_is_never_removed(directory: Directory, make: Callable[[Path], None]) -> None:
    make(Path(directory.path))
    with pytest.raises(AgentError, match="is not a folder") as caught:
        directory.check(Context())
    assert directory.path in caught.value.hint
    assert os.path.lexists(directory.path)


def test_the_operators_own_link_to_a_larger_disk_is_followed(directory: Directory, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    Path(directory.path).symlink_to(tmp_path / "disk")
    assert mend(directory) == "mode 0700 → 0750"
    assert _mode(str(tmp_path / "disk")) == 0o750
    assert Path(directory.path).is_symlink()


@needs_root
def test_a_link_made_by_the_service_user_does_not_give_it_another_folder(tmp_path: Path) -> None:
    """Else a broken-into server would get /etc by replacing its own data/tmp."""
    directory = Directory("it", str(tmp_path / "tmp"), 0o700, "daemon", "daemon")
    (tmp_path / "etc").mkdir(mode=0o755)
    Path(directory.path).symlink_to(tmp_path / "etc")
    os.chown(directory.path, 65534, 65534, follow_symlinks=False)
    with pytest.raises(AgentError, match="link"):
        found(directory)
    with pytest.raises(AgentError, match="link"):
        directory.apply(Context())
    assert ((tmp_path / "etc").owner(), _mode(str(tmp_path / "etc"))) == ("root", 0o755)
