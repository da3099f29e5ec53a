"""`logs`: what is asked of the host, and how its answer looks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_provision.agent.protocol import Done, Event, Output
from mlflow_provision.cli.since import seconds_since
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Reply
from tests.unit.conftest import PASSWORD, CommandLine
from tests.unit.fake_host import FakeHost

AT = 1_800_000_000.0
STAMP = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(AT))


class Talking(FakeHost):
    """A host whose server has said these lines."""

    def __init__(self, *lines: dict[str, Any]) -> None:
        super().__init__()
        self.lines = lines
        self.interrupting = False

    def request(self, verb: str, data: dict[str, Any], reply: Reply | None = None) -> Iterator[Event]:
        self.requests.append((verb, data))
        self._end(verb)
        for line in self.lines:
            yield Output("log", json.dumps({"at": AT, "error": False, "first": False, **line}))
        if self.interrupting:
            raise KeyboardInterrupt
        yield Done({"lines": len(self.lines)})


@pytest.fixture
def host(command_line: CommandLine) -> Talking:
    command_line.host = Talking({"line": "2026/11/21 18:59:03 INFO:     it works"}, {"line": "and says so"})
    command_line.known()
    return command_line.host


class TestAsked:
    def test_the_newest_hundred(self, command_line: CommandLine, host: Talking) -> None:
        command_line.run("logs")
        verb, data = host.requests[0]
        assert verb == "logs" and data["unit"] == "mlflow-server.service" and data["file"] == ""
        assert (data["lines"], data["ago"], data["errors"], data["follow"]) == (100, None, False, False)
        assert "/opt/mlflow/server/etc/secrets.env" in data["secrets"]

    def test_since_is_without_a_limit(self, command_line: CommandLine, host: Talking) -> None:
        command_line.run("logs", "--since", "1h30m")
        command_line.run("logs", "--since", "2h", "-n", "5")
        assert [(data["lines"], data["ago"]) for _, data in host.requests] == [(None, 5400.0), (5, 7200.0)]

    def test_errors_are_those_of_a_week(self, command_line: CommandLine, host: Talking) -> None:
        command_line.run("logs", "--errors", "--follow")
        data = host.requests[0][1]
        assert data["errors"] and data["follow"] and data["ago"] == 7 * 86400.0

    def test_a_server_without_root_has_a_file(self, command_line: CommandLine, host: Talking) -> None:
        command_line.known("mine", "local", scope="user")
        result = command_line.run("logs", "mine")
        assert host.requests[0][1]["file"] == "~/mlflow/mine/server.log"
        assert result.stdout.splitlines() == ["2026/11/21 18:59:03 INFO:     it works", "and says so"]

    def test_nonsense(self, command_line: CommandLine, host: Talking) -> None:
        result = command_line.run("logs", "--since", "yesterday")
        assert result.exit_code == ExitCode.USAGE and "not like 30m" in result.stderr


class TestShown:
    def test_by_the_clock_of_this_machine(self, command_line: CommandLine, host: Talking) -> None:
        lines = command_line.run("logs").stdout.splitlines()
        assert lines == [f"{STAMP}  INFO:     it works", f"{STAMP}  and says so"]

    def test_errors_stand_apart(self, command_line: CommandLine, host: Talking) -> None:
        first = {"error": True, "first": True}
        host.lines = ({"line": "ERROR a", **first}, {"line": "  more", "error": True}, {"line": "ERROR b", **first})
        lines = command_line.run("logs", "--errors").stdout.splitlines()
        assert lines == [f"{STAMP}  ERROR a", f"{STAMP}    more", "", f"{STAMP}  ERROR b"]

    def test_nothing(self, command_line: CommandLine, host: Talking) -> None:
        host.lines = ()
        result = command_line.run("logs", "--errors")
        assert result.exit_code == 0 and result.stdout == "" and "There is no error in the log since" in result.stderr

    def test_the_document(self, command_line: CommandLine, host: Talking) -> None:
        lines = command_line.json("logs")["lines"]
        assert lines[1] == {"at": AT, "line": "and says so", "error": False, "first": False}

    def test_followed_by_a_program(self, command_line: CommandLine, host: Talking) -> None:
        host.interrupting = True
        result = command_line.run("logs", "-f", "--json")
        events = [json.loads(line) for line in result.stdout.splitlines()]
        assert [event.get("line") for event in events[:2]] == ["2026/11/21 18:59:03 INFO:     it works", "and says so"]
        assert result.exit_code == ExitCode.INTERRUPTED == events[-1]["exit_code"] and host.closed

    def test_the_password_that_only_this_machine_knows(self, command_line: CommandLine, host: Talking) -> None:
        host.lines = ({"line": f"somebody said {PASSWORD}"},)
        assert PASSWORD not in command_line.run("logs").output
        assert PASSWORD not in command_line.run("logs", "--json").output

    def test_control_characters_do_not_steer_the_terminal(self, command_line: CommandLine, host: Talking) -> None:
        host.lines = ({"line": "\x1b[2Jgone\x07"},)
        assert command_line.run("logs").stdout == f"{STAMP}  gone\n"

    def test_where_it_is_not_set_up(self, command_line: CommandLine, host: Talking) -> None:
        host.failing["logs"] = ProvisionError("it is not set up on this host", "mlflow-provision setup NAME")
        result = command_line.run("logs")
        assert result.exit_code == ExitCode.FAILED and "setup server" in result.stderr


class TestSince:
    @pytest.mark.parametrize(
        ("text", "ago"),
        [
            ("90s", 90),
            ("30m", 1800),
            ("30min", 1800),
            ("1h", 3600),
            ("1h 30m", 5400),
            ("1.5d", 129600),
            ("2w", 1209600),
        ],
    )
    def test_durations(self, text: str, ago: float) -> None:
        assert seconds_since(text, AT) == ago

    def test_moments(self) -> None:
        local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(AT - 60))
        assert seconds_since(local, AT) == 60
        assert seconds_since("2027-01-15T07:00:00Z", AT) == 3600
        day = time.strftime("%Y-%m-%d", time.localtime(AT))
        ago = seconds_since(day, AT)
        assert ago is not None and 0 <= ago <= 86400

    @pytest.mark.parametrize("text", ["", "h", "1x", "1h2", "tomorrow", "2099-01-01", "-1h"])
    def test_no_moments(self, text: str) -> None:
        assert seconds_since(text, AT) is None
