"""Start, stop and restart say what was there before, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_provision.agent import command, process_group
from mlflow_provision.agent.control import carried_out
from tests.agent.fake_systemd import FakeSystemd
from tests.agent.tiny_server import TinyServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TinyServer]:
    found = TinyServer(tmp_path / "server")
    yield found
    found.resource.stop(lambda: False)


def test_a_day_of_a_server(server: TinyServer) -> None:
    first = carried_out(server.resource, "start", lambda: False)
    assert first["before"]["running"] is False and first["healthy"] is True and first["took"] > 0
    again = carried_out(server.resource, "start", lambda: False)
    assert again["before"]["pid"] == again["pid"] == first["pid"]
    restarted = carried_out(server.resource, "restart", lambda: False)
    assert restarted["before"]["pid"] == first["pid"] != restarted["pid"]
    stopped = carried_out(server.resource, "stop", lambda: False)
    assert stopped["before"]["healthy"] is True and stopped["running"] is False and stopped["killed"] is False
    assert carried_out(server.resource, "stop", lambda: False)["killed"] is False


def test_one_that_does_not_end_by_itself(server: TinyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_group, "STOP_SECONDS", 0.3)
    (server.folder / "stubborn").touch()
    carried_out(server.resource, "start", lambda: False)
    deadline = time.monotonic() + 10
    while not (server.folder / "grandchild").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert carried_out(server.resource, "stop", lambda: False)["killed"] is True


def test_systemd_knows_whether_it_was_killed(systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = command.capture

    def capture(argv: list[str], timeout: float = 30.0) -> str:
        return "timeout\n" if "--property=Result" in argv else ask(argv, timeout)

    monkeypatch.setattr(command, "capture", capture)
    told = carried_out(systemd.resource, "stop", lambda: False)
    assert told["killed"] is True and told["before"]["running"] is True and told["running"] is False
