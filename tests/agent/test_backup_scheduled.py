"""A backup without an operator: what is done, what is told, and what it is called."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.backup import ping, scheduled
from mlflow_provision.agent.backup.scheduled import carried_out, due
from mlflow_provision.agent.backup.status import _seconds, status
from mlflow_provision.agent.protocol import CHANGED, OK, AgentError, Event, Result
from tests.agent.fake_programs import FakePrograms

DAY = 86400.0
PLACE = "s3://backups/here"


class Pings(ThreadingHTTPServer):
    """Whom nothing is told, and who remembers what was."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str] = []
        self.answer = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/ping/CANARY"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Pings)
        self.server.asked.append(self.path)
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def pings() -> Iterator[Pings]:
    with Pings() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def job(tmp_path: Path, pings: Pings) -> dict[str, Any]:
    settings = {"state": str(tmp_path), "ping_url": pings.url, "place": {"destination": PLACE}}
    return {"settings": settings, "artifacts": True, "verify": "weekly", "prune": True}


class Agent:
    """In place of the verb: notes what it is asked, and fails where a test wants it to."""

    def __init__(self, **failures: Exception) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.failures = failures

    def __call__(
        self, data: dict[str, Any], operator: str, emit: Callable[[Event], None], stopping: Callable[[], bool]
    ) -> dict[str, Any]:
        assert operator == "the schedule"
        rest = {name: value for name, value in data.items() if name not in ("action", "settings")}
        self.asked.append((data["action"], rest))
        emit(Result("database", "tracking database", CHANGED, 1.25, "3 MB"))
        emit(Result("check", "nothing to tell", OK, 0.0))
        if failure := self.failures.get(data["action"]):
            raise failure
        return {}

    @property
    def actions(self) -> list[str]:
        return [action for action, _ in self.asked]


def never() -> bool:
    return False


def verified(state: Path, at: float, place: str = PLACE) -> None:
    (state / "last.json").write_text(json.dumps({"verified": {"id": "x", "at": at, "level": "full", "place": place}}))


def test_it_backs_up_verifies_prunes_and_pings(
    job: dict[str, Any], pings: Pings, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent()
    assert carried_out(job, agent, never) == 0
    assert agent.asked == [
        ("make", {"reason": "by schedule", "artifacts": True, "verify": False, "identity": ""}),
        ("verify", {"id": "", "identity": ""}),
        ("prune", {"dry_run": False}),
    ]
    assert pings.asked == ["/ping/CANARY"]
    out, err = capsys.readouterr()
    assert out.splitlines() == ["tracking database: 3 MB (1.2 s)"] * 3
    assert err == ""


def test_what_was_verified_lately_is_not_read_again(job: dict[str, Any], tmp_path: Path) -> None:
    verified(tmp_path, time.time() - 2 * DAY)
    agent = Agent()
    carried_out(job, agent, never)
    assert agent.actions == ["make", "prune"]


def test_where_nothing_may_be_deleted_nothing_is_pruned(job: dict[str, Any]) -> None:
    agent = Agent()
    carried_out({**job, "prune": False, "verify": "off"}, agent, never)
    assert agent.actions == ["make"]


def test_without_a_backup_nothing_else_is_done(
    job: dict[str, Any], pings: Pings, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent(make=AgentError("the bucket is gone", "make it again", "store"))
    assert carried_out(job, agent, never) == 1
    assert agent.actions == ["make"]
    assert pings.asked == ["/ping/CANARY/fail"]
    assert capsys.readouterr().err == "backup failed: the bucket is gone\n  make it again\n"


def test_a_backup_that_cannot_be_verified_is_a_failure_of_its_own(job: dict[str, Any], pings: Pings) -> None:
    agent = Agent(verify=AgentError("mlflow.db.gz is damaged"))
    assert carried_out(job, agent, never) == 3
    assert agent.actions == ["make", "verify", "prune"]
    assert pings.asked == ["/ping/CANARY/fail"]


def test_a_full_disk_is_told_like_any_other_failure(job: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert carried_out(job, Agent(make=OSError(28, "No space left on device", "/x")), never) == 1
    assert "backup failed: No space left on device: /x\n  free some space" in capsys.readouterr().err


def test_a_mistake_of_ours_is_told_with_all_there_is(
    job: dict[str, Any], pings: Pings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert carried_out(job, Agent(make=KeyError("oops")), never) == 1
    assert pings.asked == ["/ping/CANARY/fail"]
    assert "KeyError: 'oops'" in capsys.readouterr().err


def test_who_finds_another_at_work_leaves_it_to_that_one_and_tells_no_success(
    job: dict[str, Any], pings: Pings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert carried_out(job, Agent(make=AgentError("ada is running `backup`", kind="locked")), never) == 0
    assert pings.asked == []
    assert "skipped: ada is running" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [200, 500])
def test_a_ping_that_fails_fails_nothing_and_gives_nothing_away(
    job: dict[str, Any], pings: Pings, capsys: pytest.CaptureFixture[str], answer: int
) -> None:
    pings.answer = answer
    if answer == 200:
        job["settings"]["ping_url"] = "http://127.0.0.1:1/ping/CANARY"
    assert carried_out(job, Agent(), never) == 0
    out, err = capsys.readouterr()
    assert "the ping failed: 127.0.0.1 " in out
    assert "CANARY" not in out + err


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://hc.example/ID", "https://hc.example/ID/fail"),
        ("https://hc.example/ID/", "https://hc.example/ID/fail"),
        ("https://kuma.example/push/ID?status=up", "https://kuma.example/push/ID/fail?status=up"),
    ],
)
def test_where_a_failure_is_told(url: str, told: str) -> None:
    assert (ping.at(url, failed=True), ping.at(url, failed=False)) == (told, url)


@pytest.mark.parametrize(
    ("every", "age", "wanted"),
    [
        ("daily", 0.5 * DAY, False),
        ("daily", DAY - 600, True),  # the timer was a little early
        ("weekly", 6 * DAY, False),
        ("weekly", 7 * DAY, True),
        ("monthly", 31 * DAY, True),
        ("weekly", -3 * DAY, True),  # the clock was wrong when it was noted, or it is now
        ("off", 400 * DAY, False),
    ],
)
def test_when_a_backup_is_read_back(tmp_path: Path, every: str, age: float, wanted: bool) -> None:
    verified(tmp_path, 1e9)
    assert due(str(tmp_path), PLACE, every, 1e9 + age) is wanted


def test_what_was_never_verified_is(tmp_path: Path) -> None:
    assert due(str(tmp_path), PLACE, "weekly", 1e9)
    assert not due(str(tmp_path), PLACE, "off", 1e9)


def test_the_first_one_in_another_place_is_read_back(tmp_path: Path) -> None:
    """Whatever was verified in the one before."""
    verified(tmp_path, 1e9, place="/srv/backups")
    assert due(str(tmp_path), PLACE, "monthly", 1e9 + DAY)


def test_a_job_that_cannot_be_read_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job").write_text("{")
    monkeypatch.setattr("sys.argv", ["agent.zip", str(tmp_path / "job")])
    monkeypatch.setattr("signal.signal", lambda *arguments: None)
    assert scheduled.main() == 1
    assert "the job cannot be read" in capsys.readouterr().err


def test_status_tells_the_last_one_and_the_next(tmp_path: Path, programs: FakePrograms) -> None:
    programs.add("systemctl", "[ \"$TZ\" = UTC ] && echo 'Sun 2026-11-22 02:47:11 UTC'")
    verified(tmp_path, 5.0)
    told = status("", str(tmp_path), "mlflow-server-backup.timer")
    assert told["verified"]["at"] == 5.0
    assert told["scheduled"] is True
    assert told["next"] == _seconds("Sun 2026-11-22 02:47:11 UTC") == 1795315631.0


def test_status_of_a_timer_that_does_not_run_and_of_no_timer(tmp_path: Path, programs: FakePrograms) -> None:
    programs.add("systemctl", "echo")
    told = status("", str(tmp_path / "nothing"), "x.timer")
    assert (told["scheduled"], told["next"]) == (True, None)
    assert status("", str(tmp_path), "")["scheduled"] is False


def test_status_survives_what_it_reads(tmp_path: Path) -> None:
    (tmp_path / "last.json").write_text("{}}")
    assert status("", str(tmp_path), "")["failed"] is None
