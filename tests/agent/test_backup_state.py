"""What a host remembers of its backups survives whatever happens to the host, and one at a time is at work."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from mlflow_provision.agent.backup import state
from mlflow_provision.agent.protocol import AgentError

BROKEN = AgentError("s3 says no", "ask for more", "store")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "state").mkdir(mode=0o700)
    return str(tmp_path / "state")


def in_a_child(folder: str) -> int:
    """The exit code of a process that wants to work too: 0, or 1 when it is told that somebody else is at it."""
    child = os.fork()
    if child == 0:
        try:
            state._working.clear()
            with state.working(folder, "backup", "other"):
                os._exit(0)
        except AgentError as error:
            os._exit(1 if error.kind == "locked" and "ada@laptop is running `backup prune`" in error.message else 2)
        finally:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_one_at_a_time(folder: str) -> None:
    with state.working(folder, "backup prune", "ada@laptop"):
        assert in_a_child(folder) == 1
        with state.working(folder, "backup verify"):  # a part of the same work
            pass
        assert in_a_child(folder) == 1
    assert in_a_child(folder) == 0


def test_scratch_is_empty_before_and_gone_after(folder: str) -> None:
    left = Path(folder, "scratch", "left")
    left.mkdir(parents=True)
    (left / "by-a-killed-run").write_bytes(b"x")
    with pytest.raises(ZeroDivisionError), state.working(folder, "backup") as scratch:
        assert list(Path(scratch).iterdir()) == []
        assert stat.S_IMODE(Path(scratch).stat().st_mode) == 0o700
        Path(scratch, "copy").write_bytes(b"x")
        with state.working(folder, "backup verify") as inner:
            assert inner == scratch
        assert Path(scratch, "copy").exists()
        raise ZeroDivisionError
    assert [path.name for path in Path(folder).iterdir()] == ["lock"]
    with state.working(folder, "backup"):
        pass


def test_a_folder_that_is_missing_is_made_for_us_alone(tmp_path: Path) -> None:
    with state.working(str(tmp_path / "new"), "backup"):
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_nothing_has_happened_yet(folder: str) -> None:
    assert state.last(folder) == {"failed": None}
    assert state.last(folder + "-that-is-missing") == {"failed": None}


def test_a_failure_stays_until_the_same_thing_succeeds(folder: str) -> None:
    state.failed(folder, "verified", "backup verify x", BROKEN)
    state.failed(folder, "made", "backup", AgentError("disk full"))
    assert state.last(folder)["failed"]["message"] == "disk full"
    state.succeeded(folder, "made", id="a")
    failed = state.last(folder)["failed"]
    assert (failed["what"], failed["message"], failed["hint"]) == ("backup verify x", "s3 says no", "ask for more")
    state.succeeded(folder, "verified", id="a", level="full")
    noted = state.last(folder)
    assert (noted["failed"], noted["made"]["id"], noted["verified"]["level"]) == (None, "a", "full")
    assert time.time() - noted["made"]["at"] < 60


def test_failures_are_noted_in_words_and_a_stop_is_none(folder: str) -> None:
    with (
        pytest.raises(AgentError, match="No space left on device: /x") as caught,
        state.noting(folder, "made", "backup"),
    ):
        raise OSError(28, "No space left on device", "/x")
    assert "df -h /x" in caught.value.hint
    assert state.last(folder)["failed"]["hint"] == caught.value.hint
    with pytest.raises(AgentError), state.noting(folder, "verified", "backup verify"):
        raise AgentError("stopped on request", kind="interrupted")
    assert state.last(folder)["failed"]["what"] == "backup"


def test_a_failure_that_cannot_be_noted_is_still_told(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="s3 says no"), state.noting(str(tmp_path / "missing"), "made", "backup"):
        raise BROKEN


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\0\0\0"])
def test_notes_that_a_power_cut_has_destroyed_are_none(folder: str, content: str) -> None:
    Path(folder, "last.json").write_text(content)
    Path(folder, "unfinished.json").write_text(content)
    assert state.last(folder) == {"failed": None}
    assert state.unfinished(folder) == {}
    state.succeeded(folder, "made", id="a")
    assert state.last(folder)["made"]["id"] == "a"


def test_notes_are_closed_to_others(folder: str) -> None:
    state.succeeded(folder, "made", id="a")
    assert stat.S_IMODE(Path(folder, "last.json").stat().st_mode) == 0o600
    assert [path.name for path in Path(folder).iterdir()] == ["last.json"]


def test_a_backup_under_way_is_no_failure_and_a_killed_one_is(folder: str) -> None:
    with state.working(folder, "backup"):
        state.begin(folder, "20200101T000000Z-aaaaaa", "s3://b/server")
        state.add(folder, "20200101T000000Z-aaaaaa/mlflow.db.gz")
        assert state.last(folder)["failed"] is None
    assert state.unfinished(folder)["objects"] == ["20200101T000000Z-aaaaaa/mlflow.db.gz"]
    failed = state.last(folder)["failed"]
    assert "20200101T000000Z-aaaaaa did not come to its end" in failed["message"]
    state.end(folder)
    assert state.last(folder)["failed"] is None
