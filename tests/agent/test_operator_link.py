"""Questions in the middle of a request: to the operator's side and back, through a child that is another user."""

from __future__ import annotations

import os
import pwd
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_provision.agent import operator_link
from mlflow_provision.agent.protocol import AgentError, Ask, Done, Event, Start
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import LocalHost, answer
from mlflow_provision.operator_folder import OperatorFolder
from tests.agent.converge import gone, needs_root
from tests.unit.asking_agent import asking_agent

USERS = ["", pytest.param("daemon", marks=needs_root)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    found = LocalHost("system" if os.geteuid() == 0 else "user", agent=asking_agent(tmp_path))
    yield found
    found.close()


@pytest.fixture
def folder(tmp_path: Path) -> OperatorFolder:
    return OperatorFolder(tmp_path / "backups", "server")


def request(folder: OperatorFolder, user: str, pieces: int = 20, **more: Any) -> dict[str, Any]:
    return {"destination": f"operator:{folder.place}", "user": user, "pieces": pieces, **more}


def files(folder: OperatorFolder) -> list[Path]:
    return [path for path in Path(folder.place).rglob("*") if path.is_file()]


@pytest.mark.parametrize("user", USERS)
def test_there_and_back(host: LocalHost, folder: OperatorFolder, user: str) -> None:
    events = list(host.request("copy", request(folder, user), folder))
    assert [type(event) for event in events] == [Start, Done], "a question is no event"
    done = events[-1]
    assert isinstance(done, Done) and done.data["same"]
    assert done.data["uid"] == (pwd.getpwnam(user).pw_uid if user else os.getuid())
    (file,) = files(folder)
    assert file.stat().st_size == 20 * 65536 * 4 and file.stat().st_uid == os.getuid()


@pytest.mark.parametrize("user", USERS)
def test_one_request_after_the_other(host: LocalHost, folder: OperatorFolder, user: str) -> None:
    for _ in range(3):
        assert answer(host, "copy", request(folder, user), folder)["same"]


@pytest.mark.parametrize("user", USERS)
def test_memory_stays_flat(host: LocalHost, folder: OperatorFolder, user: str) -> None:
    small = answer(host, "copy", request(folder, user, pieces=40), folder)
    large = answer(host, "copy", request(folder, user, pieces=400), folder)  # 100 MB
    assert large["same"]
    for peak in ("peak", "parent_peak"):
        assert large[peak] - small[peak] < 20_000, "KiB"


@pytest.mark.parametrize("user", USERS)
def test_nobody_who_answers(host: LocalHost, folder: OperatorFolder, user: str) -> None:
    with pytest.raises(ProvisionError, match="nobody here can answer the host's question 'store'"):
        answer(host, "copy", request(folder, user))


@pytest.mark.parametrize("user", USERS)
def test_another_folder_than_the_one_that_was_offered(host: LocalHost, folder: OperatorFolder, user: str) -> None:
    data = {**request(folder, user), "destination": "operator:/"}
    with pytest.raises(ProvisionError, match="was not offered"):
        answer(host, "copy", data, folder)


@pytest.mark.parametrize("user", USERS)
def test_the_operator_s_disk_is_full(
    host: LocalHost, folder: OperatorFolder, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    like_os = SimpleNamespace(**{**vars(os), "write": full})
    monkeypatch.setattr("mlflow_provision.agent.backup.stores.unfinished.os", like_os)
    with pytest.raises(ProvisionError, match=r"on this machine, not on the host: .*No space left"):
        answer(host, "copy", request(folder, user), folder)
    assert files(folder) == []


@pytest.mark.parametrize("user", USERS)
def test_interrupted_in_the_middle(host: LocalHost, folder: OperatorFolder, user: str) -> None:
    began = time.monotonic()
    with pytest.raises(ProvisionError) as caught:
        for event in host.request("copy", request(folder, user, pieces=10_000, pause=0.01), folder):
            assert isinstance(event, (Start, Done))
            threading.Timer(0.3, host.interrupt).start()
    assert caught.value.code == ExitCode.INTERRUPTED
    assert time.monotonic() - began < 5
    assert files(folder) == []


@pytest.mark.parametrize("user", USERS)
def test_nobody_reads_any_more(host: LocalHost, folder: OperatorFolder, user: str) -> None:
    events = host.request("copy", request(folder, user, pieces=10_000, pause=0.01), folder)
    child = pid(next(events))
    events.close()  # type: ignore[attr-defined]
    assert gone(child)
    assert files(folder) == []


@needs_root
def test_a_parent_that_is_killed_takes_its_child_along(host: LocalHost, folder: OperatorFolder) -> None:
    events = host.request("copy", request(folder, "daemon", pieces=10_000, pause=0.01), folder)
    child = pid(next(events))
    os.kill(parent_of(child), signal.SIGKILL)
    with pytest.raises(ProvisionError, match="was killed"):
        list(events)
    assert gone(child)
    assert files(folder) == []


@needs_root
def test_a_child_that_is_killed_is_told(host: LocalHost, folder: OperatorFolder) -> None:
    events = host.request("copy", request(folder, "daemon", pieces=10_000, pause=0.01), folder)
    os.kill(pid(next(events)), signal.SIGKILL)
    with pytest.raises(ProvisionError, match="what ran as daemon was killed"):
        list(events)
    assert files(folder) == []


def pid(event: Event) -> int:
    assert isinstance(event, Start)
    return int(event.title.split()[-1])


def parent_of(child: int) -> int:
    found = re.search(r"^PPid:\s*(\d+)", Path(f"/proc/{child}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


# Without a process: the order of replies, and those that nobody waits for.


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Ask]:
    monkeypatch.setattr(operator_link, "_gone", False)
    return []


def test_replies_find_their_questions_in_any_order(asked: list[Ask]) -> None:
    one, two = (operator_link.post(asked.append, "call", n=n) for n in (1, 2))  # type: ignore[arg-type]
    for question in reversed(asked):
        operator_link.arrived({"id": question.id, "reply": {"n": question.arguments["n"]}})
    assert (one(), two()) == ({"n": 1}, {"n": 2})


def test_questions_of_many_threads(asked: list[Ask]) -> None:
    def emit(event: Event) -> None:
        assert isinstance(event, Ask)
        threading.Timer(0.01, operator_link.arrived, ({"id": event.id, "reply": event.arguments},)).start()

    answers: list[tuple[int, dict[str, Any]]] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append((n, operator_link.ask(emit, "call", n=n))))
        for n in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert sorted(n for n, _ in answers) == list(range(50))
    assert all(reply == {"n": n} for n, reply in answers)


def test_a_reply_that_nobody_waits_for_is_nobody_else_s(asked: list[Ask]) -> None:
    operator_link.arrived({"id": "of an earlier request", "reply": {"n": 0}})
    reply = operator_link.post(asked.append, "call")  # type: ignore[arg-type]
    operator_link.arrived({"id": asked[0].id, "reply": {"n": 1}})
    assert reply() == {"n": 1}


def test_an_error_comes_back_whole(asked: list[Ask]) -> None:
    reply = operator_link.post(asked.append, "call")  # type: ignore[arg-type]
    operator_link.arrived({"id": asked[0].id, "reply": {}, "error": ["what", "do", "kind"]})
    with pytest.raises(AgentError) as caught:
        reply()
    assert (caught.value.message, caught.value.hint, caught.value.kind) == ("what", "do", "kind")


def test_who_has_gone_answers_nothing(asked: list[Ask]) -> None:
    before = operator_link.post(asked.append, "call")  # type: ignore[arg-type]
    operator_link.arrived(None)
    after = operator_link.post(asked.append, "call")  # type: ignore[arg-type]
    for reply in (before, after):
        with pytest.raises(AgentError, match="has gone") as caught:
            reply()
        assert caught.value.kind == "interrupted"
