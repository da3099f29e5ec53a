"""The log of a server: which lines, whole errors, no secret, and what comes while somebody follows it."""

from __future__ import annotations

import contextlib
import json
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent import logs
from mlflow_provision.agent.logs.entry import Entry
from mlflow_provision.agent.logs.errors import Errors
from mlflow_provision.agent.logs.logfile import LogFile, moment
from mlflow_provision.agent.logs.mask import STARS, Mask
from mlflow_provision.agent.protocol import AgentError, Event, Output
from tests.agent.agent_process import AgentProcess
from tests.agent.fake_programs import FakePrograms

CRASHES = Path(__file__).parent / "crashes"
ERROR_500 = """\
2026/11/21 18:59:03 ERROR mlflow.server: Exception on /api/2.0/mlflow/runs/create [POST]
Traceback (most recent call last):
  File "/opt/x/flask/app.py", line 1511, in wsgi_app
    response = self.full_dispatch_request()
sqlite3.OperationalError: database is locked

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/opt/x/sqlalchemy/engine/base.py", line 1, in _execute
    raise
sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database is locked
[SQL: INSERT INTO runs VALUES (?)]
[parameters: ('a',)]
(Background on this error at: https://sqlalche.me/e/20/e3q8)
""".splitlines()
QUIET = [
    '2026/11/21 18:59:04 INFO:     127.0.0.1:1 - "GET /api/x HTTP/1.1" 200 OK',
    "2026/11/21 18:59:04 INFO mlflow.store: creating tables",
    'INFO:     127.0.0.1:1 - "GET /graphql?ERROR=500 HTTP/1.1" 404 Not Found',
    "2026/11/21 18:59:04 WARNING mlflow.server: ERROR is only a word here",
]


def judged(lines: list[str]) -> list[tuple[bool, bool]]:
    errors = Errors()
    return [errors.judge(Entry(None, line)) for line in lines]


class TestErrors:
    def test_a_chain_of_tracebacks_is_one_error(self) -> None:
        found = judged([*QUIET, *ERROR_500, *QUIET])
        assert found[:4] == [(False, False)] * 4 == found[-4:]
        assert found[4] == (True, True) and set(found[5:-4]) == {(True, False)}

    @pytest.mark.parametrize(
        "line",
        [
            'INFO:     127.0.0.1:1 - "POST /api/2.0/mlflow/runs/create HTTP/1.1" 500 Internal Server Error',
            '2026/11/21 18:59:04 INFO:     10.0.0.1:1 - "PUT /api/a/b HTTP/1.1" 503 Service Unavailable',
            "ERROR:    Exception in ASGI application",
            "2026/11/21 18:59:03 ERROR mlflow.cli: it failed",
            "[2026-11-21 18:59:03,123] ERROR in app: Exception on /x [GET]",
            "2026-11-21 18:59:03,123 [7] CRITICAL huey: gone",
            "Traceback (most recent call last):",
            "  + Exception Group Traceback (most recent call last):",
            "Child process [123] died",
            "MemoryError",
        ],
    )
    def test_what_begins_one(self, line: str) -> None:
        assert judged([line]) == [(True, True)]

    def test_two_in_a_row_are_two(self) -> None:
        failed = 'INFO:     127.0.0.1:1 - "GET /x HTTP/1.1" 500 Internal Server Error'
        assert judged([failed, failed, *ERROR_500]).count((True, True)) == 3

    def test_a_long_traceback_is_whole(self) -> None:
        frames = [f"  File {number}" for number in range(300)]
        assert all(error for error, _ in judged(["Traceback (most recent call last):", *frames, "ValueError: x"]))

    def test_lines_that_belong_to_an_announcement(self) -> None:
        found = judged(["2026/11/21 18:59:03 ERROR mlflow.cli: it failed:", "  because", "of something else"])
        assert found == [(True, True), (True, False), (False, False)]

    def test_an_exception_without_an_end_does_not_take_everything(self) -> None:
        found = judged(["Traceback (most recent call last):", "  File x", *["any words"] * 100])
        assert sum(error for error, _ in found) < 50

    @pytest.mark.parametrize("crash", sorted(path.stem for path in CRASHES.glob("*.txt")))
    def test_why_real_servers_died_is_among_them(self, crash: str) -> None:
        lines = (CRASHES / f"{crash}.txt").read_text().splitlines()
        kept = [line for line, (error, _) in zip(lines, judged(lines), strict=True) if error]
        assert kept, "nothing"

    def test_systemd_is_believed(self) -> None:
        errors = Errors()
        killed = Entry(1.0, "mlflow-server.service: Main process exited, code=killed", severe=True, ours=False)
        assert errors.judge(killed) == (True, True)
        assert errors.judge(Entry(1.0, "Started mlflow-server.service", ours=False)) == (False, False)


class TestMask:
    @pytest.fixture
    def mask(self, tmp_path: Path) -> Mask:
        (tmp_path / "secrets.env").write_text("# words\nMLFLOW_FLASK_SERVER_SECRET_KEY='CANARY-flask'\nSHORT=abc\n")
        (tmp_path / "credentials").write_text("[default]\naws_secret_access_key = CANARY/aws+key\n")
        job = {"settings": {"place": {"secret_access_key": "CANARY-job"}, "user": "mlflow-server"}}
        (tmp_path / "backup.json").write_text(json.dumps(job))
        return Mask([str(tmp_path / name) for name in ("secrets.env", "credentials", "backup.json", "none")])

    @pytest.mark.parametrize("secret", ["CANARY-flask", "CANARY/aws+key", "CANARY-job"])
    def test_what_the_server_knows(self, mask: Mask, secret: str) -> None:
        assert mask.applied(f"it said {secret}, twice {secret}") == f"it said {STARS}, twice {STARS}"

    @pytest.mark.parametrize(
        ("line", "left"),
        [
            (f"GET https://b.s3/x?X-Amz-Signature={'a' * 64}&y=1", "&y=1"),
            ("X-Amz-Security-Token=CANARY%2Ftoken&more", "&more"),
            ("postgresql://mlflow:CANARY@db/mlflow failed", "@db/mlflow failed"),
            ("Authorization: Basic CANARY==", "Authorization: Basic "),
            ('{"password": "CANARY pass", "user": "ana"}', '"user": "ana"'),
            ("admin_password=CANARY x", " x"),
        ],
    )
    def test_what_looks_like_one(self, mask: Mask, line: str, left: str) -> None:
        shown = mask.applied(line)
        assert "CANARY" not in shown and "a" * 64 not in shown and left in shown and STARS in shown

    def test_ordinary_lines_stay(self, mask: Mask) -> None:
        for line in [*QUIET, *ERROR_500, "user mlflow-server abc", "http://127.0.0.1:5000/x@y"]:
            assert mask.applied(line) == line


def journal_line(number: int, text: Any, **fields: Any) -> str:
    item = {"__CURSOR": f"c{number}", "__REALTIME_TIMESTAMP": str(1_800_000_000_000_000 + number), "MESSAGE": text}
    return json.dumps({**item, "_PID": "77", "PRIORITY": "6", **fields})


class Log:
    """Runs the verb and keeps what it tells."""

    def __init__(self, folder: Path, **data: Any) -> None:
        (folder / "deployment.json").write_text("{}")
        self.data = {
            "unit": "",
            "file": str(folder / "server.log"),
            "record": str(folder / "deployment.json"),
            "secrets": [],
            "ago": None,
            "lines": None,
            "errors": False,
            "probes": False,
            "follow": False,
            **data,
        }
        self.lines: list[dict[str, Any]] = []
        self.stop = threading.Event()

    def emit(self, event: Event) -> None:
        assert isinstance(event, Output)
        self.lines.append(json.loads(event.line))

    def run(self, **data: Any) -> list[str]:
        self.lines = []
        told = logs.serve({**self.data, **data}, "ana", self.emit, self.stop.is_set)
        assert told["lines"] == len(self.lines)
        return self.texts

    @property
    def texts(self) -> list[str]:
        return [line["line"] for line in self.lines]

    def following(self, **data: Any) -> threading.Thread:
        thread = threading.Thread(target=self.run, kwargs={"follow": True, **data}, daemon=True)
        thread.start()
        return thread

    def wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not ready():
            assert time.monotonic() < deadline, self.texts
            time.sleep(0.02)


class TestJournal:
    @pytest.fixture
    def log(self, tmp_path: Path, programs: FakePrograms) -> Log:
        """A journal that is a file of lines; journalctl knows --reverse, --follow and cursors, as far as we need it."""
        journal = tmp_path / "journal"
        journal.write_text("")
        program = f"""
case "$*" in
*--reverse*) tac {shlex.quote(str(journal))} ;;
*--follow*) [ -e {tmp_path}/flaky ] && {{ rm {tmp_path}/flaky; exit 1; }}
   after=$(echo "$*" | sed -n 's/.*--after-cursor=c//p'); exec tail -n +$((${{after:-0}} + 1)) -f {journal} ;;
*) cat {shlex.quote(str(journal))} ;;
esac
"""
        programs.add("journalctl", program)
        self.programs = programs
        self.journal = journal
        self.count = 0
        return Log(tmp_path, unit="mlflow-prod.service")

    def write(self, *texts: Any, **fields: Any) -> None:
        with self.journal.open("a") as file:
            for text in texts:
                self.count += 1
                file.write(journal_line(self.count, text, **fields) + "\n")

    def test_the_newest_lines_the_oldest_first(self, log: Log) -> None:
        self.write(*[f"line {number}" for number in range(10)])
        assert log.run(lines=3) == ["line 7", "line 8", "line 9"]
        assert log.lines[0]["at"] == pytest.approx(1_800_000_000.000008)

    def test_requests_for_health_are_left_out_and_not_counted(self, log: Log) -> None:
        probe = 'INFO:     127.0.0.1:1 - "GET /health HTTP/1.0" 200 OK'
        self.write("a", *[probe] * 20, "b", probe.replace("200", "503"))
        assert log.run(lines=3) == ["a", "b", probe.replace("200", "503")]
        assert len(log.run(probes=True)) == 23

    def test_since_is_asked_of_the_journal(self, log: Log) -> None:
        self.write("a")
        log.run(ago=3600.0)
        since = float(self.programs.calls[-1].partition("--since=@")[2].split()[0])
        assert since == pytest.approx(time.time() - 3600, abs=5)

    def test_errors_are_whole(self, log: Log) -> None:
        self.write(*QUIET, *ERROR_500, *QUIET, *ERROR_500)
        assert log.run(errors=True) == ERROR_500 * 2
        assert log.run(errors=True, lines=len(ERROR_500)) == ERROR_500
        assert log.run(errors=True, lines=3) == ERROR_500  # of its end alone nobody learns anything
        assert log.run(errors=True, lines=len(ERROR_500) + 3) == ERROR_500 * 2

    def test_what_is_no_text_is_shown_as_well_as_can_be(self, log: Log) -> None:
        self.write([98, 195, 164, 255], None, ["two", "fields"])
        assert log.run() == ["bä\ufffd", "", "two fields"]

    def test_systemd_says_how_it_died(self, log: Log) -> None:
        self.write("Main process exited, code=killed, status=9/KILL", "Started it", _PID="1", PRIORITY="5")
        assert log.run(errors=True) == ["Main process exited, code=killed, status=9/KILL"]

    def test_a_broken_line_hides_no_other(self, log: Log) -> None:
        self.write("a")
        with self.journal.open("a") as file:
            file.write("{not json\n[]\n{}\n")
        self.write("b")
        assert log.run() == ["a", "b"]

    def test_following_goes_on_after_what_was_shown(self, log: Log) -> None:
        self.write("a", "b")
        thread = log.following(lines=1)
        log.wait(lambda: log.texts == ["b"])
        self.write("c", *ERROR_500)
        log.wait(lambda: len(log.lines) == 2 + len(ERROR_500))
        log.stop.set()
        thread.join(5)
        assert not thread.is_alive() and log.texts == ["b", "c", *ERROR_500]

    def test_a_journalctl_that_ends_is_started_again_where_it_was(self, log: Log, tmp_path: Path) -> None:
        (tmp_path / "flaky").touch()
        self.write("a")
        thread = log.following(lines=5)
        log.wait(lambda: log.texts == ["a"] and not (tmp_path / "flaky").exists())
        self.write("b")
        log.wait(lambda: log.texts == ["a", "b"])
        log.stop.set()
        thread.join(5)

    def test_errors_are_followed_too(self, log: Log) -> None:
        thread = log.following(errors=True)
        self.write(*QUIET, *ERROR_500)
        log.wait(lambda: len(log.lines) == len(ERROR_500))
        log.stop.set()
        thread.join(5)

    def test_nothing_runs_on_when_nobody_listens(self, log: Log) -> None:
        self.write("a")
        thread = log.following()
        log.wait(lambda: running("-f", str(self.journal)))
        log.stop.set()
        thread.join(5)
        assert not running("-f", str(self.journal))

    def test_a_journalctl_that_hears_nothing_is_ended(self, log: Log) -> None:
        self.programs.add("journalctl", f"echo '{journal_line(1, 'a')}'; exec sleep 4711")
        thread = log.following(errors=False)
        log.wait(lambda: running("sleep", "4711"))
        log.stop.set()
        thread.join(5)
        assert not running("sleep", "4711")

    def test_no_journal_at_all(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mlflow_provision.agent.logs.journal._PLACES", ("/nonexistent",))
        with pytest.raises(AgentError, match="keeps no journal"):
            log.run()

    def test_a_secret_is_masked(self, log: Log, tmp_path: Path) -> None:
        (tmp_path / "secrets.env").write_text("KEY=CANARY-key\n")
        self.write("the key is CANARY-key")
        assert log.run(secrets=[str(tmp_path / "secrets.env")]) == [f"the key is {STARS}"]

    def test_where_nothing_is_set_up(self, log: Log, tmp_path: Path) -> None:
        (tmp_path / "deployment.json").unlink()
        with pytest.raises(AgentError, match="not set up"):
            log.run()


def running(*words: str) -> bool:
    """Is there a process with these words at the end of its command line?"""
    ending = "".join(word + "\0" for word in words).encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().endswith(ending):
                return True
    return False


class TestFile:
    def test_the_agent_ends_when_nobody_listens(self, tmp_path: Path) -> None:
        log = Log(tmp_path)
        (tmp_path / "server.log").write_text("a\n")
        with AgentProcess("logs", {**log.data, "follow": True}) as agent:
            assert isinstance(event := agent.event(), Output) and json.loads(event.line)["line"] == "a"
            agent.hang_up()
            assert agent.answer().error is None
            assert agent.end() == (0, "")

    @pytest.fixture
    def log(self, tmp_path: Path) -> Iterator[Log]:
        found = Log(tmp_path)
        yield found
        found.stop.set()

    def write(self, log: Log, *texts: str, name: str = "server.log") -> None:
        with (Path(log.data["file"]).parent / name).open("a") as file:
            file.writelines(text + "\n" for text in texts)

    def test_the_one_that_was_set_aside_comes_first(self, log: Log) -> None:
        self.write(log, "old", name="server.log.1")
        self.write(log, "new")
        assert log.run() == ["old", "new"] and log.run(lines=1) == ["new"]

    def test_no_file_is_an_empty_log(self, log: Log) -> None:
        assert log.run() == []

    def test_since_goes_by_the_times_in_the_lines(self, log: Log) -> None:
        def stamp(ago: float) -> str:
            return time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(time.time() - ago))

        lines = [
            f"{stamp(7200)} INFO old",
            "  more of it",
            f"{stamp(600)} INFO new",
            "  more",
            f"--- start {stamp(60)}",
        ]
        self.write(log, "of a time that nobody knows", *lines)
        assert log.run(ago=3600.0) == lines[2:]

    @pytest.mark.parametrize(
        "text",
        [
            "2026/11/21 18:59:03 INFO",
            "[2026-11-21 18:59:03,1] x",
            "--- start 2026-11-21 18:59:03",
            "2026-11-21T18:59:03",
        ],
    )
    def test_times(self, text: str) -> None:
        assert moment(text) == time.mktime((2026, 11, 21, 18, 59, 3, 0, 0, -1))

    @pytest.mark.parametrize("text", ["", "INFO 2026/11/21 18:59:03", "2026/13/45 18:59:03"])
    def test_no_times(self, text: str) -> None:
        assert moment(text) is None or text.startswith("2026/13")

    def test_following_survives_rotation_and_truncation(self, log: Log, tmp_path: Path) -> None:
        file = tmp_path / "server.log"
        self.write(log, "a")
        thread = log.following()
        log.wait(lambda: log.texts == ["a"])
        self.write(log, "b")
        log.wait(lambda: log.texts[-1:] == ["b"])
        self.write(log, "c")
        file.rename(tmp_path / "server.log.1")
        self.write(log, "d")
        log.wait(lambda: log.texts == ["a", "b", "c", "d"])
        file.write_text("")
        time.sleep(0.7)
        self.write(log, "e")
        log.wait(lambda: log.texts == ["a", "b", "c", "d", "e"])
        log.stop.set()
        thread.join(5)
        assert not thread.is_alive()

    def test_a_line_that_is_being_written_comes_whole(self, log: Log, tmp_path: Path) -> None:
        file = tmp_path / "server.log"
        file.write_text("a\nhalf")
        thread = log.following()
        log.wait(lambda: log.texts == ["a"])
        with file.open("a") as handle:
            handle.write(" a line\n")
        log.wait(lambda: log.texts == ["a", "half a line"])
        log.stop.set()
        thread.join(5)

    def test_a_file_that_comes_later(self, log: Log) -> None:
        thread = log.following()
        time.sleep(0.2)
        self.write(log, "first")
        log.wait(lambda: log.texts == ["first"])
        log.stop.set()
        thread.join(5)

    def test_only_the_end_of_a_huge_one_is_read(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mlflow_provision.agent.logs.logfile._MOST", 20)
        self.write(log, *["0123456789"] * 100)
        assert len(list(LogFile(log.data["file"], lambda: False).history(None))) == 2
