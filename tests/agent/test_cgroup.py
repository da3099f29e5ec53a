"""To which unit a process belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.agent import cgroup


@pytest.mark.parametrize(
    ("line", "unit"),
    [
        ("0::/system.slice/mlflow-server.service", "mlflow-server.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope", "user@1000.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/ada.service", "ada.service"),
        ("0::/user.slice/user-1000.slice/session-2.scope", ""),
        ("12:pids:/a\n1:name=systemd:/system.slice/nginx.service/sub", "nginx.service"),
        ("0::/", ""),
    ],
)
def test_the_unit_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, unit: str) -> None:
    (tmp_path / "cgroup").write_text(line + "\n")
    monkeypatch.setattr(cgroup, "Path", lambda path: tmp_path / Path(path).name)
    assert cgroup.unit_of(1) == unit


def test_a_process_that_has_ended_has_no_unit() -> None:
    assert cgroup.unit_of(2**22 + 1) == ""
