"""`audit`: the lines of the log as what was done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_provision.agent.protocol import Done, Event
from mlflow_provision.audit import changes
from mlflow_provision.errors import ExitCode
from mlflow_provision.host import Reply
from tests.unit.conftest import CommandLine
from tests.unit.fake_host import FakeHost


def begun(key: str, what: str = "setup prod", ago: float = 60.0, deployment: str = "prod") -> dict[str, Any]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - ago))
    who = {"operator": "ana@laptop", "login": "ubuntu", "from": "198.51.100.7"}
    return {"id": key, "at": at, "event": "begun", "deployment": deployment, "what": what, **who}


def ended(key: str, event: str = "done", **more: Any) -> dict[str, Any]:
    return {"id": key, "at": "2026-11-21T00:00:00Z", "event": event, "seconds": 5.9, "changes": [], **more}


class TestChanges:
    def test_two_lines_are_one_change(self) -> None:
        (found,) = changes([begun("1"), ended("1", changes=["a file: create"])])
        assert (found["outcome"], found["seconds"], found["changes"]) == ("done", 5.9, ["a file: create"])
        assert (found["operator"], found["login"], found["from"]) == ("ana@laptop", "ubuntu", "198.51.100.7")

    def test_in_the_order_in_which_they_began(self) -> None:
        found = changes([begun("1", "a"), begun("2", "b"), ended("2"), ended("1", "failed", message="no room")])
        assert [(one["what"], one["outcome"]) for one in found] == [("a", "failed"), ("b", "done")]
        assert found[0]["message"] == "no room"

    def test_one_without_an_end(self) -> None:
        found = changes([begun("1", "a"), begun("2", "b"), ended("2")])
        assert found[0]["outcome"] == "cut off" and found[0]["seconds"] is None

    def test_an_end_without_a_beginning(self) -> None:
        (found,) = changes([ended("1")])
        assert found["what"] == "?" and found["outcome"] == "done" and found["at"]

    def test_the_same_id_again_is_another_one(self) -> None:
        assert len(changes([begun("1"), ended("1"), begun("1"), ended("1")])) == 2


class Logging(FakeHost):
    entries: tuple[dict[str, Any], ...] = ()
    problems: tuple[str, ...] = ()

    def request(self, verb: str, data: dict[str, Any], reply: Reply | None = None) -> Iterator[Event]:
        self.requests.append((verb, data))
        yield Done({"entries": list(self.entries), "problems": list(self.problems)})


class TestCommand:
    @pytest.fixture
    def host(self, command_line: CommandLine) -> Logging:
        command_line.known("prod")
        command_line.host = host = Logging()
        host.entries = (
            begun("1", "setup prod", 3 * 86400),
            ended("1", changes=["a file: create", "another"]),
            begun("2", "restart staging", 100, "staging"),
            ended("2"),
            begun("3", "stop prod", 50),
            ended("3", "failed", message="systemd does not answer"),
            begun("4", "upgrade prod", 10),
        )
        return host

    def test_of_this_deployment(self, command_line: CommandLine, host: Logging) -> None:
        result = command_line.run("audit")
        assert result.exit_code == 0
        assert host.requests == [("audit", {"path": "/opt/mlflow/audit.jsonl"})]
        lines = [line[21:] if line[:1] == "2" else line for line in result.stdout.splitlines()]
        who = "ana@laptop (ubuntu from 198.51.100.7)"
        assert lines == [
            f"{who}  setup prod  2 changes  5.9s",
            "    * a file: create",
            "    * another",
            f"{who}  stop prod  FAILED  5.9s",
            "    systemd does not answer",
            f"{who}  upgrade prod  was cut off",
        ]

    def test_of_all_of_them(self, command_line: CommandLine, host: Logging) -> None:
        assert "restart staging [staging]" in command_line.run("audit", "--all").stdout

    def test_since(self, command_line: CommandLine, host: Logging) -> None:
        found = command_line.json("audit", "--since", "1d")["changes"]
        assert [change["what"] for change in found] == ["stop prod", "upgrade prod"]

    def test_nothing(self, command_line: CommandLine, host: Logging) -> None:
        host.entries = ()
        assert "Nothing was changed" in command_line.run("audit").stdout

    def test_a_log_that_somebody_has_changed(self, command_line: CommandLine, host: Logging) -> None:
        host.problems = ("what was before line 3 was changed or taken out",)
        result = command_line.run("audit")
        assert result.exit_code == ExitCode.FAILED
        assert "tampered with, or damaged: what was before line 3" in result.stdout
        assert command_line.json("audit")["problems"] == list(host.problems)
