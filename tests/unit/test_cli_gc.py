"""`gc`: what a person reads before, what is asked of the host, and what it takes to remove anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_provision.agent.protocol import CHANGED, OK, Done, Event, Result
from mlflow_provision.config import Gc
from mlflow_provision.errors import ExitCode, ProvisionError
from tests.unit.conftest import CommandLine
from tests.unit.fake_host import FakeHost

ORPHANS = {"folders": 2, "files": 9, "bytes": 900, "examples": ["1/aa", "1/bb"], "known": 40, "young": 1}


def experiment(number: int, whole: bool = False, **changed: Any) -> dict[str, Any]:
    sums = {"runs": 2, "models": 1, "traces": 0, "files": 1500, "bytes": 3_000_000}
    return {"id": str(number), "name": f"churn {number}", "whole": whole, **sums, **changed}


class GcHost(FakeHost):
    """Set up, with two experiments of which something may go."""

    def __init__(self, **changed_facts: Any) -> None:
        root = {"path": "/opt/mlflow", "state": "ours"}
        super().__init__(**{"applied": {"name": "server"}, "root": root, **changed_facts})
        self.experiments = [experiment(1), experiment(2, whole=True, traces=7)]
        self.kept: list[dict[str, Any]] = []
        self.kept_after: list[dict[str, Any]] = []
        self.orphans: dict[str, Any] = ORPHANS
        self.versions: bool | None = False
        self.young = 0

    def asked(self, action: str) -> list[dict[str, Any]]:
        return [data for verb, data in self.requests if verb == "gc" and data["action"] == action]

    def _events(self, verb: str, data: dict[str, Any]) -> Iterator[Event]:
        if verb != "gc":
            yield from super()._events(verb, data)
            return
        keys = ("runs", "models", "traces", "files", "bytes")
        totals = {key: sum(one[key] for one in self.experiments) for key in keys}
        totals["experiments"] = sum(one["whole"] for one in self.experiments)
        report = {
            "before": 1_800_000_000.5,
            "place": "s3://basket/ml",
            "experiments": self.experiments,
            "totals": totals,
            "kept": self.kept,
            "young": self.young,
            "orphans": self.orphans if data["orphans"] else None,
            "versions": self.versions,
        }
        yield Result("deleted", "What was deleted on server", OK)
        self._end(verb + " " + data["action"])
        if data["action"] == "collect":
            removed = {**totals, "orphans": 2 if data["orphans"] else 0}
            yield Result("removed", "Removed from server", CHANGED, 0.1, "all of it")
            report |= {"removed": removed, "kept": self.kept + self.kept_after, "summary": "all of it"}
        yield Done(report)


@pytest.fixture
def host(command_line: CommandLine) -> GcHost:
    command_line.host = GcHost()
    command_line.known()
    return command_line.host


def test_a_dry_run_shows_and_asks_nothing(command_line: CommandLine, host: GcHost) -> None:
    result = command_line.run("gc", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "Deleted on server at least 30d ago" in result.stdout
    assert "churn 2 (2), all of it" in result.stdout and "1,500" in result.stdout
    assert "To remove it: mlflow-provision gc" in result.stdout
    assert host.asked("collect") == []
    (look,) = host.asked("look")
    assert look["settings"]["seconds"] == 30 * 86400 and "lock" not in look and not look["orphans"]


def test_yes_removes_what_was_shown(command_line: CommandLine, host: GcHost) -> None:
    result = command_line.run("gc", "--yes")
    assert result.exit_code == 0, result.output
    assert "Removed 4 runs, 2 models, 7 traces, 1 experiment: 3,000 files, 6 MB" in result.stdout
    (request,) = host.asked("collect")
    assert request["before"] == 1_800_000_000.5
    assert request["what"] == "gc server" and request["lock"] and request["audit"]["deployment"] == "server"


def test_a_person_is_asked(command_line: CommandLine, host: GcHost, person: None) -> None:
    result = command_line.run("gc", answers="n\n")
    assert result.exit_code == ExitCode.FAILED and "Nothing was removed." in result.stdout
    assert "Remove 4 runs, 2 models, 7 traces, 1 experiment and 3,000 files, 6 MB for good?" in result.output
    assert command_line.run("gc", answers="\n").exit_code == ExitCode.FAILED, "Enter is no yes"
    assert host.asked("collect") == []
    assert command_line.run("gc", answers="y\n").exit_code == 0 and len(host.asked("collect")) == 1


def test_without_a_terminal_only_yes_removes(command_line: CommandLine, host: GcHost) -> None:
    result = command_line.run("gc", "--older-than", "7d")
    assert result.exit_code == ExitCode.USAGE
    assert "mlflow-provision gc --older-than 7d --yes" in result.stderr and host.asked("collect") == []


def test_how_old_is_old(command_line: CommandLine, host: GcHost) -> None:
    command_line.known(gc=Gc(older_than="90d"))
    command_line.run("gc", "--dry-run")
    command_line.run("gc", "--dry-run", "--older-than", "1d12h")
    assert [data["settings"]["seconds"] for data in host.asked("look")] == [90 * 86400, 129600]
    result = command_line.run("gc", "--dry-run", "--older-than", "soon")
    assert result.exit_code == ExitCode.USAGE and "write it like 30d" in result.stderr


def test_nothing_to_remove(command_line: CommandLine, host: GcHost) -> None:
    host.experiments, host.young = [], 3
    result = command_line.run("gc", "--yes")
    assert (
        result.exit_code == 0 and "Nothing to remove: nothing was deleted on server at least 30d ago" in result.stdout
    )
    assert "3 deletions less than 30d ago" in result.stdout and host.asked("collect") == []


def test_orphans(command_line: CommandLine, host: GcHost) -> None:
    host.experiments = []
    assert "orphan" not in command_line.run("gc", "--dry-run").stdout
    result = command_line.run("gc", "--orphans", "--dry-run")
    assert "2 folders in s3://basket/ml of no run, model or trace that the server knows" in result.stdout
    assert "  1/aa\n" in result.stdout and "40 are of one" in result.stdout
    assert "1 folder of nothing known, less than a day old" in result.stdout
    result = command_line.run("gc", "--orphans", "--sole-user", "--yes")
    assert "Removed 2 orphaned folders" in result.stdout
    assert host.asked("collect")[0]["orphans"] and host.asked("collect")[0]["sole_user"]


def test_what_stays_is_told_once_and_by_its_reason(command_line: CommandLine, host: GcHost) -> None:
    why = "the model x is made of it"
    host.kept = [{"kind": "run", "id": f"{n}" * 32, "name": f"number {n}", "why": why} for n in range(3)]
    host.kept_after = [{"kind": "run", "id": "9" * 32, "name": "", "why": "was restored meanwhile"}]
    result = command_line.run("gc", "--yes")
    text = " ".join(result.stdout.split())
    assert text.count("run number 0 and 2 more stay: the model x is made of it") == 1
    assert f"run {'9' * 32} stays: was restored meanwhile" in text


def test_old_versions_are_told_of(command_line: CommandLine, host: GcHost) -> None:
    assert "old versions" not in command_line.run("gc", "--dry-run").stdout
    host.versions = True
    assert "s3://basket/ml keeps old versions" in " ".join(command_line.run("gc", "--dry-run").stdout.split())


def test_many_experiments_are_summed_up(command_line: CommandLine, host: GcHost) -> None:
    host.experiments = [experiment(number, bytes=number) for number in range(1, 31)]
    lines = command_line.run("gc", "--dry-run").stdout.splitlines()
    assert "churn 30 (30)" in lines[2] and any("11 more" in line and "22" in line for line in lines)


def test_the_document(command_line: CommandLine, host: GcHost) -> None:
    document = command_line.json("gc", "--yes")
    assert document["gc"]["totals"]["runs"] == 4 and document["gc"]["removed"]["runs"] == 4
    assert document["ok"] and document["deployment"] == "server"


def test_a_failure_on_the_host(command_line: CommandLine, host: GcHost) -> None:
    host.failing["gc collect"] = ProvisionError("the access key lacks permissions", "allow them")
    result = command_line.run("gc", "--yes")
    assert result.exit_code == ExitCode.FAILED and "lacks permissions" in result.stderr


def test_a_server_that_is_not_set_up(command_line: CommandLine) -> None:
    command_line.host = GcHost(applied=None)
    command_line.known()
    result = command_line.run("gc", "--yes")
    assert result.exit_code == ExitCode.FAILED and "is not set up" in result.stderr


def test_without_systemd_the_line_for_the_crontab(command_line: CommandLine) -> None:
    command_line.host = GcHost(root={"path": "/home/ana/mlflow", "state": "ours"})
    command_line.known(host="local", scope="user", gc=Gc("weekly"))
    text = command_line.run("gc", "--dry-run").stdout.replace("\n", " ")
    assert "45 4 * * 0" in text and "gc.json" in text
