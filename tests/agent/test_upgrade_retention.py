"""Which releases stay after an upgrade, and which ways back with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.names import MARKER
from mlflow_provision.agent.upgrade import history
from mlflow_provision.agent.upgrade.retention import forget, kept

A, B, C, D = "3.10.1-aaaa", "3.13.0-bbbb", "3.16.1-cccc", "3.17.2-dddd"


class Root:
    """A root with releases, and deployments that run on them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / MARKER).touch()
        for name in (A, B, C, D):
            (path / "releases" / name / "bin").mkdir(parents=True)
            (path / "releases" / name / "release.json").touch()

    def deployment(self, name: str, release: str) -> Path:
        base = self.path / name
        (base / "backup" / "upgrades").mkdir(parents=True, exist_ok=True)
        (base / "venv").unlink(missing_ok=True)
        (base / "venv").symlink_to(self.path / "releases" / release)
        return base

    def entry(self, base: Path, id: str, before: str, after: str, **more: Any) -> Path:
        folder = base / "backup" / "upgrades" / id
        old = folder / "databases"
        old.mkdir(parents=True)
        (old / "mlflow.db").write_text("data")
        versions = {"from": {"version": before[:6], "release": before}, "to": {"version": after[:6], "release": after}}
        note = {"id": id, "action": "upgrade", "at": float(id), "old": str(old), **versions, **more}
        (folder / history.NOTE).write_text(json.dumps(note))
        return folder

    def releases(self) -> set[str]:
        return {one.name for one in (self.path / "releases").iterdir()}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def forgotten(root: Root, base: Path, keep: int) -> list[str]:
    return forget(str(root.path), str(base), keep)


@pytest.mark.parametrize(
    ("keep", "stays"), [(1, {D}), (2, {C, D}), (3, {B, C, D}), (4, {A, B, C, D}), (9, {A, B, C, D})]
)
def test_the_last_releases_stay_with_their_databases(root: Root, keep: int, stays: set[str]) -> None:
    base = root.deployment("prod", D)
    folders = [root.entry(base, "1", A, B), root.entry(base, "2", B, C), root.entry(base, "3", C, D)]
    assert set(forgotten(root, base, keep)) == {A, B, C, D} - stays
    assert root.releases() == stays
    assert [folder.exists() for folder in folders] == [one in stays for one in (A, B, C)]
    assert forgotten(root, base, keep) == []


def test_what_other_deployments_run_on_or_go_back_to_stays(root: Root) -> None:
    root.deployment("old", A)
    staging = root.deployment("staging", D)
    root.entry(staging, "1", B, D)
    base = root.deployment("prod", D)
    assert forgotten(root, base, 1) == [C] and root.releases() == {A, B, D}
    assert (staging / "backup/upgrades/1/upgrade.json").exists()


def test_what_a_record_names_stays(root: Root) -> None:
    """A setup that was killed between the record and the link, or the other way round."""
    base = root.deployment("prod", D)
    (base / "deployment.json").write_text(json.dumps({"release": B}))
    assert forgotten(root, base, 1) == [A, C]


def test_a_rollback_keeps_what_it_put_aside_until_the_next_upgrade(root: Root) -> None:
    base = root.deployment("prod", C)
    root.entry(base, "1", B, C)
    undone = root.entry(base, "2", C, D, rolled_back="3")
    back = root.entry(base, "3", D, C, action="rollback")
    assert forgotten(root, base, 99) == [A]
    assert back.exists() and not undone.exists() and D in root.releases()
    root.deployment("prod", D)
    again = root.entry(base, "4", C, D)
    assert forgotten(root, base, 2) == [B]
    assert again.exists() and not back.exists()


def test_only_the_newest_of_two_rollbacks_stays(root: Root) -> None:
    base = root.deployment("prod", A)
    root.entry(base, "1", B, A, action="rollback")
    root.entry(base, "2", C, A, action="rollback")
    assert [entry["id"] for entry in kept(history.entries(str(base)), A, 2)] == ["2"]


def test_what_an_upgrade_left_that_went_back_goes(root: Root) -> None:
    base = root.deployment("prod", D)
    failed = base / "backup" / "upgrades" / "1"
    failed.mkdir()
    (failed / "mlflow.db").touch()
    forgotten(root, base, 2)
    assert not failed.exists()


def test_what_cannot_be_removed_is_left_and_the_rest_goes(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    base = root.deployment("prod", D)
    root.entry(base, "1", A, B)
    root.entry(base, "2", B, C)

    def refuse(entry: dict[str, Any]) -> None:
        raise PermissionError(13, "Operation not permitted")

    monkeypatch.setattr(history, "remove", refuse)
    assert forgotten(root, base, 1) == [C] and root.releases() == {A, B, D}


def test_without_our_marker_nothing_is_touched(root: Root) -> None:
    (root.path / MARKER).unlink()
    assert forgotten(root, root.deployment("prod", D), 1) == [] and len(root.releases()) == 4


def test_a_removal_that_is_killed_leaves_no_release(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its stamp a venv is half built, and is built again."""
    base = root.deployment("prod", D)

    def killed(path: str) -> None:
        raise OSError(5, "killed")

    monkeypatch.setattr("mlflow_provision.agent.upgrade.retention.shutil.rmtree", killed)
    assert forgotten(root, base, 1) == []
    assert not (root.path / "releases" / A / "release.json").exists()
    assert (root.path / "releases" / D / "release.json").exists()
