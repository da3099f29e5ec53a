"""What is done as the service user is done as that user alone, and comes back as if we had done it."""

from __future__ import annotations

import os
import pwd
import signal
import threading
import time
from pathlib import Path

import pytest

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.protocol import AgentError
from tests.agent.converge import needs_root


def test_without_a_user_it_is_done_here() -> None:
    assert as_user("", os.getpid) == os.getpid()


def test_who_is_not_root_does_it_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert as_user("daemon", os.getpid) == os.getpid()


@needs_root
def test_it_is_that_user_with_all_its_groups_and_no_way_back() -> None:
    def who() -> list[object]:
        try:
            os.setuid(0)
        except PermissionError:
            return [os.getresuid(), os.getresgid(), sorted(os.getgroups())]
        return ["root again"]

    account = pwd.getpwnam("daemon")
    uid, gid = account.pw_uid, account.pw_gid
    assert as_user("daemon", who) == [[uid] * 3, [gid] * 3, sorted(os.getgrouplist("daemon", gid))]
    assert os.geteuid() == 0


@needs_root
def test_what_it_writes_is_its_own_and_closed_to_others(open_folder: Path) -> None:
    open_folder.chmod(0o777)
    as_user("daemon", lambda: (open_folder / "made").write_text("x"))
    info = (open_folder / "made").stat()
    assert (info.st_uid, info.st_mode & 0o777) == (pwd.getpwnam("daemon").pw_uid, 0o600)


@needs_root
def test_what_it_may_not_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "of-root"
    secret.write_text("CANARY")
    secret.chmod(0o600)
    with pytest.raises(AgentError, match="PermissionError"):
        as_user("daemon", secret.read_text)


@needs_root
def test_an_error_for_people_comes_back_whole() -> None:
    def fail() -> None:
        raise AgentError("what", "what to do", "locked")

    with pytest.raises(AgentError) as caught:
        as_user("daemon", fail)
    assert (caught.value.message, caught.value.hint, caught.value.kind) == ("what", "what to do", "locked")


@needs_root
def test_a_child_that_is_killed_is_an_error() -> None:
    with pytest.raises(AgentError, match="what ran as daemon was killed"):
        as_user("daemon", lambda: os.kill(os.getpid(), 9))


@needs_root
def test_a_long_answer_is_no_deadlock() -> None:
    assert as_user("daemon", lambda: "x" * 1_000_000) == "x" * 1_000_000


@needs_root
def test_an_answer_that_cannot_travel_does_not_let_the_child_go_on_as_the_parent() -> None:
    before = os.getpid()
    with pytest.raises(AgentError, match="not JSON serializable"):
        as_user("daemon", object)
    assert os.getpid() == before


@needs_root
def test_it_is_told_to_stop_and_may_finish() -> None:
    def until_told() -> str:
        told = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: told.set())
        return "finished" if told.wait(10) else "never told"

    began = time.monotonic()
    assert as_user("daemon", until_told, lambda: time.monotonic() - began > 0.3) == "finished"
    assert time.monotonic() - began < 5


@needs_root
def test_who_does_not_listen_is_not_waited_for_busily() -> None:
    looks: list[float] = []

    def stopping() -> bool:
        looks.append(time.monotonic())
        return False

    as_user("daemon", lambda: time.sleep(1), stopping)
    assert 3 <= len(looks) <= 20
