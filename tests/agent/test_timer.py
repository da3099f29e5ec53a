"""A timer that is to run, and one that is not to be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.agent.resources import Context, timer
from mlflow_provision.agent.resources.timer import Timer, TimerAbsent
from tests.agent.converge import found, mend
from tests.agent.fake_systemd import FakeSystemd

TIMER = Timer("timer", "mlflow-server-backup.timer", ("unit", "timer-unit"))


def test_it_is_enabled_and_started(systemd: FakeSystemd) -> None:
    assert found(TIMER) == ""
    systemd.become(UnitFileState="disabled", ActiveState="inactive")
    assert found(TIMER) == "enable, start"


def test_changed_unit_files_are_read_again(systemd: FakeSystemd) -> None:
    assert found(TIMER, "timer-unit") == found(TIMER, "unit") == "reload the unit files"
    assert found(TIMER, "server.env") == ""
    systemd.become(NeedDaemonReload="yes")
    assert found(TIMER) == "reload the unit files"


def test_what_is_done_about_it_never_touches_the_backup_that_runs(systemd: FakeSystemd) -> None:
    TIMER.apply(Context())
    done = [call.removeprefix("systemctl ") for call in systemd.programs.calls]
    assert done == ["daemon-reload", f"enable --quiet {TIMER.unit}", f"restart {TIMER.unit}"]


def test_nothing_of_it_stays(systemd: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer, "_WANTS", str(tmp_path / "wants"))
    absent = TimerAbsent("timer", "a-backup.timer", "a-backup.service", str(tmp_path))
    assert found(absent) == ""
    assert systemd.programs.calls == []
    for name in ("a-backup.timer", "a-backup.service", "b-backup.timer"):
        (tmp_path / name).touch()
    assert mend(absent) == "stop, disable, remove"
    assert not (tmp_path / "a-backup.timer").exists() and not (tmp_path / "a-backup.service").exists()
    assert (tmp_path / "b-backup.timer").exists()
    stopped = [call for call in systemd.programs.calls if call.startswith("systemctl stop")]
    assert stopped == ["systemctl stop a-backup.timer", "systemctl stop a-backup.service"]


def test_half_of_it_is_found_too(systemd: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer, "_WANTS", str(tmp_path / "wants"))
    (tmp_path / "wants").mkdir()
    (tmp_path / "wants/a-backup.timer").symlink_to("/no/such/file")
    mend(TimerAbsent("timer", "a-backup.timer", "a-backup.service", str(tmp_path)))
    assert list((tmp_path / "wants").iterdir()) == []
