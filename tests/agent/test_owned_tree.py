"""A folder handed over to its user with all that is in it: on the host it comes from that user had another number."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.owned_tree import OwnedTree
from tests.agent.converge import found, mend, needs_root, snapshot

ELSEWHERE = 4711  # the number that the user had on the other host


def tree(path: Path, user: str = "daemon") -> OwnedTree:
    return OwnedTree("it", str(path), 0o700, user, user)


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(info.st_uid, info.st_gid) for info in (path.lstat() for path in [folder, *folder.rglob("*")])}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """One that other users reach: pytest's own is closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """A folder that comes from another host."""
    folder = tmp_path / "prod"
    folder.mkdir(mode=0o700)
    (folder / "packs").mkdir(mode=0o700)
    (folder / "packs" / "one.tar.gz").write_bytes(b"pack")
    (folder / "manifest.json").write_bytes(b"{}")
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, ELSEWHERE, ELSEWHERE)
    return folder


@needs_root
def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    assert mend(tree(tmp_path / "backups" / "prod")) == "create 0700"
    assert (tmp_path / "backups" / "prod").owner() == "daemon"
    assert (tmp_path / "backups").owner() == "root"


@needs_root
def test_everything_below_becomes_the_users_and_is_otherwise_the_same(moved: Path) -> None:
    before = {path: (mode, content) for path, (mode, _, _, content) in snapshot(moved).items()}
    assert mend(tree(moved)) == f"owner {ELSEWHERE}:{ELSEWHERE} → daemon:daemon, with all that is in it"
    assert owners(moved) == {(1, 1)}
    assert {path: (mode, content) for path, (mode, _, _, content) in snapshot(moved).items()} == before


@needs_root
def test_only_the_folder_itself_is_looked_at(moved: Path) -> None:
    """There may be many thousands of files, on a slow disk."""
    mend(tree(moved))
    os.chown(moved / "manifest.json", ELSEWHERE, ELSEWHERE)
    assert found(tree(moved)) == ""


@needs_root
def test_the_folder_itself_comes_last(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was interrupted, and runs it again, does the rest."""
    chown, calls = os.chown, []

    def interrupted(path: object, *arguments: int, **options: object) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        chown(path, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "chown", interrupted)
        tree(moved).apply(Context())
    assert owners(moved) == {(1, 1), (ELSEWHERE, ELSEWHERE)}
    mend(tree(moved))
    assert owners(moved) == {(1, 1)}


@needs_root
def test_what_links_lead_to_is_not_touched(moved: Path, tmp_path: Path) -> None:
    """Whoever had the folder may have put into it what would make another's files the service user's."""
    secret = tmp_path / "etc" / "shadow"
    secret.parent.mkdir()
    secret.write_text("root")
    (moved / "packs" / "file").symlink_to(secret)
    (moved / "folder").symlink_to(secret.parent)
    (moved / "hard").hardlink_to(secret)
    mend(tree(moved))
    assert (secret.owner(), secret.parent.owner()) == ("root", "root")
    assert (moved / "packs" / "one.tar.gz").owner() == "daemon"


@needs_root
def test_the_operators_own_link_to_a_larger_disk_is_followed(moved: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(moved)
    mend(tree(link))
    assert owners(moved) == {(1, 1)}


@needs_root
def test_a_link_of_another_user_is_not(moved: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(moved)
    os.chown(link, ELSEWHERE, ELSEWHERE, follow_symlinks=False)
    with pytest.raises(AgentError, match="symbolic link that another user made"):
        tree(link).apply(Context())
    assert owners(moved) == {(ELSEWHERE, ELSEWHERE)}


@needs_root
def test_another_mode_alone_leaves_the_content_alone(moved: Path) -> None:
    mend(tree(moved))
    moved.chmod(0o755)
    os.chown(moved / "manifest.json", ELSEWHERE, ELSEWHERE)
    assert mend(tree(moved)) == "mode 0755 → 0700"
    assert (moved / "manifest.json").stat().st_uid == ELSEWHERE


def test_without_a_user_it_is_a_folder_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "prod").mkdir(mode=0o755)
    assert mend(tree(tmp_path / "prod", "")) == "mode 0755 → 0700"


@needs_root
def test_a_folder_above_that_is_closed_is_told_again_and_again(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    for _ in range(2):
        with pytest.raises(
            AgentError, match=r"daemon cannot reach .*/closed/prod: a folder above it is closed"
        ) as caught:
            mend(tree(tmp_path / "closed" / "prod"))
        assert "namei -l" in caught.value.hint
