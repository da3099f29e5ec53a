"""The log of a host's changes: who, what, how it ended; and that a line which was changed or taken out shows."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent import audit
from mlflow_provision.agent.audit import read, recorded
from mlflow_provision.agent.protocol import CHANGED, OK, AgentError, Event, Result
from tests.agent.agent_process import AgentProcess
from tests.agent.tiny_server import TinyServer


def wish(path: Path, what: str = "setup prod") -> dict[str, Any]:
    return {"what": what, "audit": {"path": str(path), "deployment": "prod"}}


def note(path: Path, what: str = "setup prod", *events: Event) -> list[Event]:
    """Record something that goes well; the events that came through."""
    seen: list[Event] = []
    with recorded(wish(path, what), "ana@laptop", seen.append) as emit:
        for event in events:
            emit(event)
    return seen


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / audit.FILE


@pytest.fixture(autouse=True)
def no_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests remove what they have made."""
    monkeypatch.setattr(audit, "_protect", lambda path, on: None)


class TestNoting:
    def test_a_beginning_and_an_end_with_what_was_changed(self, log: Path) -> None:
        events = [Result("a", "a file", CHANGED, 0.1, "create"), Result("b", "another", OK), Result("c", "x", CHANGED)]
        assert note(log, "setup prod", *events) == events
        (begun, done), problems = read(str(log))
        assert problems == []
        assert begun["event"] == "begun" and begun["operator"] == "ana@laptop" and begun["deployment"] == "prod"
        assert begun["what"] == "setup prod" and begun["login"] and begun["id"] == done["id"]
        assert done["event"] == "done" and done["changes"] == ["a file: create", "x"] and done["seconds"] >= 0

    @pytest.mark.parametrize(
        ("error", "message"),
        [(AgentError("the disk is full"), "the disk is full"), (OSError(28, "No space", "/x"), "No space: /x")],
    )
    def test_a_failure_says_why(self, log: Path, error: Exception, message: str) -> None:
        with pytest.raises(type(error)), recorded(wish(log), "ana", lambda event: None):
            raise error
        assert [(entry["event"], entry.get("message")) for entry in read(str(log))[0]] == [
            ("begun", None),
            ("failed", message),
        ]

    def test_a_bug_of_ours_is_a_failure_too(self, log: Path) -> None:
        with pytest.raises(ZeroDivisionError), recorded(wish(log), "ana", lambda event: None):
            _ = 1 / 0
        assert read(str(log))[0][-1]["event"] == "failed"

    def test_the_folder_may_come_only_with_the_change(self, tmp_path: Path) -> None:
        log = tmp_path / "root" / audit.FILE
        with recorded(wish(log), "ana", lambda event: None):
            log.parent.mkdir()
        assert [entry["event"] for entry in read(str(log))[0]] == ["begun", "done"]

    def test_where_nothing_is_set_up_nothing_is_noted(self, tmp_path: Path) -> None:
        note(tmp_path / "none" / audit.FILE)
        assert not (tmp_path / "none").exists()

    def test_without_a_wish_nothing_is_noted(self, log: Path) -> None:
        with recorded({"what": "look"}, "ana", print) as emit:
            assert emit is print
        assert not log.exists()

    def test_only_its_owner_can_read_it(self, log: Path) -> None:
        note(log)
        assert log.stat().st_mode & 0o777 == 0o600

    def test_a_link_is_not_followed(self, log: Path, tmp_path: Path) -> None:
        (tmp_path / "victim").write_text("")
        log.symlink_to(tmp_path / "victim")
        note(log)  # and the change itself goes on
        assert (tmp_path / "victim").read_text() == ""

    def test_two_at_once_break_no_chain(self, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        last = audit._last

        def slowly(descriptor: int) -> bytes:
            found = last(descriptor)
            time.sleep(0.02)  # whoever does not wait for the other now reads the same last line
            return found

        monkeypatch.setattr(audit, "_last", slowly)
        threads = [threading.Thread(target=note, args=(log, f"do {number}")) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        entries, problems = read(str(log))
        assert len(entries) == 16 and problems == []

    def test_a_very_long_line_does_not_break_the_chain(self, log: Path) -> None:
        note(log, "x", *[Result(str(number), "y" * 5000, CHANGED) for number in range(60)])
        note(log)
        entries, problems = read(str(log))
        assert problems == [] and len(entries[1]["changes"]) == 50

    def test_who_is_logged_in_is_asked_of_the_host(self, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUDO_USER", "ubuntu")
        note(log)
        assert read(str(log))[0][0]["login"] == "ubuntu"

    def test_where_the_connection_comes_from(self, log: Path) -> None:
        code = (
            "import sys, json; from mlflow_provision.agent.audit import recorded\n"
            f"with recorded({wish(log)!r}, 'ana', print): pass"
        )
        root = Path(__file__).resolve().parents[2]
        # As under sudo: the variable is in the environment of a process further up.
        shell = ["sh", "-c", 'env -u SSH_CONNECTION "$@"; true', "sh", "python3", "-c", code]
        subprocess.run(shell, cwd=root, env={**os.environ, "SSH_CONNECTION": "192.0.2.7 1 192.0.2.1 22"}, check=True)
        assert read(str(log))[0][0]["from"] == "192.0.2.7"


class TestTampering:
    @pytest.fixture
    def lines(self, log: Path) -> list[bytes]:
        for number in range(3):
            note(log, f"do {number}")
        return log.read_bytes().splitlines(keepends=True)

    def test_nothing_is_wrong_at_first(self, log: Path, lines: list[bytes]) -> None:
        assert read(str(log))[1] == [] and len(lines) == 6

    def test_a_line_that_was_taken_out(self, log: Path, lines: list[bytes]) -> None:
        log.write_bytes(b"".join(lines[:2] + lines[3:]))
        assert read(str(log))[1] == ["what was before line 3 was changed or taken out"]

    def test_the_first_line_that_was_taken_out(self, log: Path, lines: list[bytes]) -> None:
        log.write_bytes(b"".join(lines[1:]))
        assert read(str(log))[1] == ["what was before line 1 was changed or taken out"]

    def test_a_line_that_was_changed(self, log: Path, lines: list[bytes]) -> None:
        log.write_bytes(b"".join(lines).replace(b"do 1", b"do 9"))
        entries, problems = read(str(log))
        assert problems == ["what was before line 4 was changed or taken out"]
        assert [entry["what"] for entry in entries if "what" in entry] == ["do 0", "do 9", "do 2"]

    def test_a_line_that_is_none(self, log: Path, lines: list[bytes]) -> None:
        log.write_bytes(b"".join([*lines[:2], b"hello\n", b"[]\n", *lines[2:]]))
        problems = read(str(log))[1]
        assert problems[:2] == ["line 3 is no entry of ours", "line 4 is no entry of ours"]
        assert problems[2] == "what was before line 5 was changed or taken out"

    def test_what_follows_is_chained_to_what_is_there(self, log: Path, lines: list[bytes]) -> None:
        log.write_bytes(b"".join(lines[1:]))
        note(log, "later")
        assert len(read(str(log))[1]) == 1

    def test_no_log_is_no_problem(self, tmp_path: Path) -> None:
        assert read(str(tmp_path / "none")) == ([], [])


class TestVerb:
    def test_the_agent_notes_and_tells(self, tmp_path: Path) -> None:
        server = TinyServer(tmp_path / "server")
        from mlflow_provision.agent.resources import to_json

        data = {"service": to_json(server.resource), "lock": str(tmp_path / "lock"), **wish(tmp_path / audit.FILE)}
        with AgentProcess("stop", data) as agent:
            assert agent.answer().data["running"] is False
            agent.ask("audit", {"path": str(tmp_path / audit.FILE)})
            told = agent.answer().data
        assert [entry["event"] for entry in told["entries"]] == ["begun", "done"] and told["problems"] == []
        subprocess.run(["chattr", "-a", tmp_path / audit.FILE], check=False, capture_output=True)

    def test_the_home_folder_need_not_be_known(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        note(tmp_path / audit.FILE)
        told = audit.serve({"path": f"~/{audit.FILE}"}, "", lambda event: None, lambda: False)
        assert len(told["entries"]) == 2

    def test_killed_in_the_middle_leaves_a_beginning_without_an_end(self, tmp_path: Path) -> None:
        log = tmp_path / audit.FILE
        code = (
            "import os, signal; from mlflow_provision.agent.audit import recorded\n"
            f"with recorded({wish(log)!r}, 'ana', print): os.kill(os.getpid(), signal.SIGKILL)"
        )
        subprocess.run(["python3", "-c", code], cwd=Path(__file__).resolve().parents[2], check=False)
        entries, problems = read(str(log))
        assert [entry["event"] for entry in entries] == ["begun"] and problems == []
        subprocess.run(["chattr", "-a", log], check=False, capture_output=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may protect a file")
def test_where_the_disk_can_it_nobody_overwrites_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    log = tmp_path / audit.FILE
    log.write_text("")
    tried = subprocess.run(["chattr", "+a", log], check=False, capture_output=True)
    if tried.returncode:
        pytest.skip("this disk has no such flag")
    subprocess.run(["chattr", "-a", log], check=True)
    log.unlink()
    note(log)
    with pytest.raises(PermissionError):
        log.write_text("nothing happened")
    note(log, "another")
    assert read(str(log))[1] == [] and len(read(str(log))[0]) == 4
    audit.unprotect(str(log))
    log.unlink()


def test_only_the_log_loses_its_protection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(audit, "_protect", lambda path, on: calls.append(path))
    audit.unprotect(str(tmp_path / "other"))
    audit.unprotect(str(tmp_path / audit.FILE))
    assert calls == [str(tmp_path / audit.FILE)]
