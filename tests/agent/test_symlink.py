"""The link to a release is switched in one step: there is no moment without it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.symlink import Symlink
from tests.agent.converge import found, mend


@pytest.fixture
def link(tmp_path: Path) -> Symlink:
    return Symlink("venv", str(tmp_path / "venv"), "../releases/new")


def test_a_missing_link_is_made(link: Symlink) -> None:
    assert mend(link) == "create"
    assert str(Path(link.path).readlink()) == "../releases/new"


def test_a_link_elsewhere_is_switched(link: Symlink) -> None:
    Path(link.path).symlink_to("../releases/old")
    assert mend(link) == "switch from ../releases/old"
    assert str(Path(link.path).readlink()) == "../releases/new"


@pytest.mark.parametrize("folder", [True, False])
def test_what_is_no_link_is_never_removed(link: Symlink, folder: bool) -> None:
    Path(link.path).mkdir() if folder else Path(link.path).touch()
    with pytest.raises(AgentError, match="is not a symbolic link") as caught:
        link.check(Context())
    assert link.path in caught.value.hint
    assert not Path(link.path).is_symlink()


def test_a_target_that_is_a_folder_is_replaced_and_not_filled(link: Symlink, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    Path(link.path).symlink_to(tmp_path / "old")
    mend(link)
    assert list((tmp_path / "old").iterdir()) == []


def test_at_every_system_call_there_is_a_link(link: Symlink) -> None:
    Path(link.path).symlink_to("../releases/old")
    child = os.fork()
    if child == 0:

        def look(event: str, arguments: object) -> None:
            if event.startswith("os.") and event not in ("os.fork", "os._exit") and not Path(link.path).is_symlink():
                os._exit(99)

        sys.addaudithook(look)
        link.apply(Context())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert str(Path(link.path).readlink()) == "../releases/new"


def test_killed_before_the_switch_the_old_link_stands_and_the_next_run_leaves_no_litter(
    link: Symlink, tmp_path: Path
) -> None:
    Path(link.path).symlink_to("../releases/old")
    child = os.fork()
    if child == 0:
        sys.addaudithook(lambda event, arguments: os._exit(99) if event == "os.rename" else None)
        link.apply(Context())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 99
    assert str(Path(link.path).readlink()) == "../releases/old"
    mend(link)
    assert [entry.name for entry in tmp_path.iterdir()] == ["venv"]
    assert found(link) == ""
