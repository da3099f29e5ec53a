"""What `destroy` takes away, and what it leaves: everything that another deployment, or somebody else, uses."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_provision.agent.names import MARKER
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.absent import PathAbsent, ServiceAbsent, SharedAbsent
from tests.agent.converge import found, mend, snapshot
from tests.agent.fake_systemd import FakeSystemd

UNIT = "mlflow-server.service"


def test_a_file_a_link_and_a_whole_folder_are_removed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").touch()
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "folder", "link", "dangling"):
        assert mend(PathAbsent(name, str(tmp_path / name))) == "remove"
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["precious", "precious/data"]
    assert found(PathAbsent("file", str(tmp_path / "file"))) == ""


def test_a_unit_is_stopped_disabled_and_removed(systemd: FakeSystemd, tmp_path: Path) -> None:
    unit_file = tmp_path / UNIT
    unit_file.write_text("[Unit]\n")
    assert mend(ServiceAbsent("service", UNIT, str(unit_file))) == "stop, disable, remove"
    assert (systemd.state["ActiveState"], systemd.state["UnitFileState"]) == ("inactive", "disabled")
    assert not unit_file.exists()
    assert systemd.calls.index("daemon-reload") > systemd.calls.index(f"stop {UNIT}")


def test_a_unit_that_cannot_be_stopped_keeps_its_file(systemd: FakeSystemd, tmp_path: Path) -> None:
    unit_file = tmp_path / UNIT
    unit_file.write_text("[Unit]\n")
    systemd.fail("stop")
    with pytest.raises(AgentError, match="systemctl stop"):
        ServiceAbsent("service", UNIT, str(unit_file)).apply(Context())
    assert unit_file.exists()


def test_a_unit_that_runs_without_its_file_is_stopped_all_the_same(systemd: FakeSystemd, tmp_path: Path) -> None:
    systemd.fail("disable")  # no such unit file
    assert mend(ServiceAbsent("service", UNIT, str(tmp_path / UNIT))) == "stop, disable, remove"
    assert systemd.state["ActiveState"] == "inactive"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with two deployments on one release each, and one that nobody uses."""
    root = tmp_path / "mlflow"
    for name in ("bin", "python", "releases/old", "releases/a", "releases/b", "one", "two"):
        (root / name).mkdir(parents=True)
    (root / "bin" / "uv").touch()
    (root / MARKER).touch()
    (root / ".lock").touch()
    (root / "one" / "venv").symlink_to(root / "releases" / "a")
    (root / "two" / "venv").symlink_to("../releases/b")
    return root


def below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_releases_that_no_deployment_uses_go(root: Path) -> None:
    before = below(root)
    assert mend(SharedAbsent("shared", str(root))) == "remove"
    assert before - below(root) == {"releases/old"}


def test_what_another_deployment_uses_stays(root: Path) -> None:
    (root / "one" / "venv").unlink()
    mend(SharedAbsent("shared", str(root)))
    assert {"releases/b", "bin/uv", "python", MARKER} <= below(root)
    assert "releases/a" not in below(root)


def test_with_the_last_deployment_everything_goes_but_kept_data(root: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (root / name / "venv").unlink()
    (root / "two").rmdir()
    (root / "one" / "data").mkdir()
    (tmp_path / "cache" / "uv").mkdir(parents=True)
    mend(SharedAbsent("shared", str(root), str(tmp_path / "cache" / "uv")))
    assert below(root) == {"one", "one/data", MARKER}  # still ours: a later setup finds its data again
    assert not (tmp_path / "cache" / "uv").exists()


def test_without_any_data_the_host_is_as_it_was(root: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (root / name / "venv").unlink()
        (root / name).rmdir()
    (tmp_path / "cache" / "mlflow-provision" / "uv").mkdir(parents=True)
    mend(SharedAbsent("shared", str(root), str(tmp_path / "cache" / "mlflow-provision" / "uv")))
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_somebody_mounted_is_theirs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (root / name / "venv").unlink()
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: str(path) == str(tmp_path / "cache"))
    mend(SharedAbsent("shared", str(root), str(tmp_path / "cache")))
    assert (tmp_path / "cache").exists()


def test_what_somebody_else_put_there_stays(root: Path) -> None:
    for name in ("one", "two"):
        (root / name / "venv").unlink()
        (root / name).rmdir()
    (root / "notes.txt").touch()
    mend(SharedAbsent("shared", str(root)))
    assert below(root) == {"notes.txt"}


def test_a_root_that_is_not_ours_is_left_alone(root: Path) -> None:
    (root / MARKER).unlink()
    before = snapshot(root, times=True)
    assert found(SharedAbsent("shared", str(root))) == ""
    SharedAbsent("shared", str(root)).apply(Context())
    assert snapshot(root, times=True) == before


def test_a_root_that_is_a_link_is_emptied(root: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (root / name / "venv").unlink()
        (root / name).rmdir()
    (tmp_path / "link").symlink_to(root)
    mend(SharedAbsent("shared", str(tmp_path / "link")))
    assert below(root) == set()


def test_a_plan_says_that_something_may_follow(tmp_path: Path) -> None:
    assert found(SharedAbsent("shared", str(tmp_path)), "base") == "remove"
    assert found(SharedAbsent("shared", str(tmp_path))) == ""
    SharedAbsent("shared", str(tmp_path / "gone")).apply(Context())


def test_killed_at_any_point_the_next_run_removes_the_rest(root: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (root / name / "venv").unlink()
        (root / name).rmdir()
    (tmp_path / "cache" / "uv").mkdir(parents=True)
    absent = SharedAbsent("shared", str(root), str(tmp_path / "cache" / "uv"))
    runs = 0
    while found(absent):
        runs += 1
        child = os.fork()
        if child == 0:
            sys.addaudithook(dies_at_the_third_removal())
            absent.apply(Context())
            os._exit(0)
        os.waitpid(child, 0)
    assert runs > 3
    assert below(tmp_path) <= {"mlflow", "cache"}  # at the very worst two empty folders


def dies_at_the_third_removal() -> Callable[[str, tuple[object, ...]], None]:
    removals = itertools.count()

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("os.remove", "os.rmdir", "shutil.rmtree") and next(removals) == 2:
            os._exit(0)

    return look
