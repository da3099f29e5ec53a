"""`start`, `stop`, `restart`: what they say has happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_provision.agent.protocol import Event
from tests.unit.conftest import CommandLine
from tests.unit.fake_host import FakeHost

UP = {"running": True, "healthy": True, "pid": 100, "seconds": 7200.0, "problem": ""}
DOWN = {"running": False, "healthy": False, "pid": 0, "seconds": 0.0, "problem": ""}


@pytest.mark.parametrize(
    ("verb", "before", "after", "first", "rows"),
    [
        ("start", DOWN, {}, "server is running and healthy", ["took      5.0s"]),
        (
            "start",
            {**DOWN, "problem": "OSError: disk full"},
            {},
            "server is running and healthy",
            ["before    OSError: disk full", "took      5.0s"],
        ),
        ("start", {**UP, "pid": 4711}, {}, "server was running already, and is healthy", []),
        ("restart", UP, {}, "server is running and healthy", ["before    it had been up for 2 h", "took      5.0s"]),
        ("stop", UP, DOWN, "server is not running", ["before    it had been up for 2 h", "took      5.0s"]),
        (
            "stop",
            UP,
            {**DOWN, "killed": True},
            "server is not running",
            ["took      5.0s; it did not end by itself, and was killed"],
        ),
        ("stop", DOWN, DOWN, "server was not running", []),
    ],
)
def test_what_happened(
    command_line: CommandLine,
    verb: str,
    before: dict[str, Any],
    after: dict[str, Any],
    first: str,
    rows: list[str],
) -> None:
    command_line.known()
    command_line.host.status |= {"before": before, "took": 5.0, "killed": False, **after}
    lines = command_line.run(verb).stdout.splitlines()
    assert lines[0] == first
    assert [row for row in rows if f"  {row}" not in lines] == []
    assert command_line.json(verb)["status"]["before"] == before


def test_what_runs_after_an_upgrade_was_taken_back(command_line: CommandLine) -> None:
    """The host goes back from an interrupted one before it starts the server: what it said before holds no more."""
    command_line.known()
    host = command_line.host = TakenBack(upgrading=True, applied={"mlflow_version": "3.17.2"})
    host.status |= {"before": UP, "took": 5.0}
    said = command_line.run("start").stdout
    assert "  upgrade   had been interrupted, and is taken back" in said
    assert "  MLflow    3.12.0" in said


class TakenBack(FakeHost):
    """Goes back from an upgrade as soon as it is to change something."""

    def _events(self, verb: str, data: dict[str, Any]) -> Iterator[Event]:
        if "lock" in data:
            self.changed_facts |= {"upgrading": False, "applied": {"mlflow_version": "3.12.0"}}
        return super()._events(verb, data)
