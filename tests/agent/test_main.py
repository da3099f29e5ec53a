"""The agent over a pipe: JSON lines and nothing else, one operator at a time, and an end when nobody listens."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.lock import held
from mlflow_provision.agent.protocol import Done, Output, Result, Start, decode
from mlflow_provision.agent.resources import Resource, to_json
from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.resources.release import Release
from tests.agent.agent_process import AgentProcess
from tests.agent.converge import gone
from tests.agent.tiny_server import TinyServer


def applying(folder: Path, *resources: Resource) -> dict[str, Any]:
    return {
        "resources": [to_json(resource) for resource in resources],
        "lock": str(folder / "run" / "lock"),
        "what": "setup server",
    }


def file(folder: Path, name: str = "file") -> File:
    return File(name, str(folder / name), "text \u2028 “quoted”\n")


def slow(folder: Path) -> Release:
    """A release whose uv never ends by itself; its pid is in `pid`."""
    uv = folder / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@"\n[ $1 = pip ] && echo $$ > {folder}/pid && sleep 600\nmkdir -p "$5"\n')
    uv.chmod(0o755)
    return Release("release", str(folder / "release"), str(uv), ("mlflow",), (), ">=3.10", str(folder / "python"))


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.02)
    return path.read_text()


def test_every_line_is_an_event_and_the_last_is_done(tmp_path: Path) -> None:
    with AgentProcess("apply", applying(tmp_path, file(tmp_path))) as agent:
        assert agent.process.stdout is not None
        lines = [agent.process.stdout.readline() for _ in range(3)]
        agent.hang_up()
        assert agent.process.stdout.read() == ""
        assert agent.end() == (0, "")
    events = [decode(line) for line in lines]
    assert [type(event) for event in events] == [Start, Result, Done]
    assert all(line.isascii() for line in lines)
    assert events[-1] == Done({"changes": 1}, None, events[-1].seconds)  # type: ignore[union-attr]
    assert (tmp_path / "file").exists()


def test_an_unknown_verb(tmp_path: Path) -> None:
    with AgentProcess("dance") as agent:
        assert agent.answer().error == {"message": "this agent has no verb 'dance'", "hint": "", "kind": "failed"}
        assert agent.end() == (1, "")


def test_one_agent_answers_one_request_after_the_other(tmp_path: Path) -> None:
    data = applying(tmp_path, file(tmp_path))
    with AgentProcess("plan", data) as agent:
        assert agent.answer().data == {"changes": 1}
        agent.sign_of_life()
        agent.ask("apply", data)
        assert agent.answer().data == {"changes": 1}
        agent.ask("plan", data)
        assert agent.answer().data == {"changes": 0}
        agent.hang_up()
        assert agent.end() == (0, "")


def test_after_a_failure_it_ends(tmp_path: Path) -> None:
    with AgentProcess("apply", applying(tmp_path, File("x", str(tmp_path / "no" / "x"), ""))) as agent:
        error = agent.answer().error
        assert error is not None
        assert "No such file or directory" in error["message"]
        assert agent.end() == (1, "")


def test_a_lock_that_cannot_be_made_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no folder")
    with AgentProcess("apply", applying(tmp_path, file(tmp_path))) as agent:
        error = agent.answer().error
        assert error is not None
        assert error["message"] in (f"File exists: {tmp_path}/run", f"Not a directory: {tmp_path}/run/lock")
        assert agent.end() == (1, "")


def test_a_plan_takes_no_lock_and_an_apply_does(tmp_path: Path) -> None:
    with AgentProcess("apply", applying(tmp_path, slow(tmp_path))) as first:
        wait_for(tmp_path / "pid")
        with AgentProcess("plan", {"resources": applying(tmp_path, file(tmp_path))["resources"]}) as second:
            assert second.answer().data == {"changes": 1}
            second.ask("apply", applying(tmp_path, file(tmp_path)))
            error = second.answer().error
            assert error is not None
            assert error["kind"] == "locked"
            assert error["message"].startswith("ada@laptop is running `setup server` on this host, started ")
        first.process.kill()
        first.process.wait()
        with AgentProcess("apply", applying(tmp_path, file(tmp_path))) as third:
            assert third.answer().data == {"changes": 1}


def hang_up(agent: AgentProcess) -> None:
    agent.hang_up()


@pytest.mark.parametrize("end", [hang_up, signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_when_nobody_listens_any_more_it_ends_what_it_runs_and_stops(tmp_path: Path, end: Any) -> None:
    with AgentProcess("apply", applying(tmp_path, slow(tmp_path), file(tmp_path))) as agent:
        pid = int(wait_for(tmp_path / "pid"))
        end(agent) if callable(end) and end is hang_up else agent.process.send_signal(end)
        done = agent.answer()
        assert done.error is not None
        assert done.error["kind"] == "interrupted"
        assert agent.end() == (1, "")
    assert gone(pid)
    assert not (tmp_path / "file").exists()


def test_when_its_output_is_closed_it_finishes_the_step_and_stops(tmp_path: Path) -> None:
    names = [f"file{number}" for number in range(200)]
    with AgentProcess("apply", applying(tmp_path, *[file(tmp_path, name) for name in names])) as agent:
        agent.event()
        assert agent.process.stdout is not None
        os.close(agent.process.stdout.fileno())
        agent.process.stdout = None
        code, _ = agent.end()
        assert code != 0
    made = [name for name in names if (tmp_path / name).exists()]
    assert names[: len(made)] == made
    assert not list(tmp_path.glob(".*new"))
    assert len(made) < len(names)


def test_lines_of_a_long_step_come_while_it_runs(tmp_path: Path) -> None:
    with AgentProcess("apply", applying(tmp_path, slow(tmp_path))) as agent:
        assert isinstance(agent.event(), Start)
        assert isinstance(line := agent.event(), Output)
        assert line.line.startswith("venv --python")
        assert line.step == "release"


def test_a_service_is_started_asked_and_stopped(tmp_path: Path) -> None:
    server = TinyServer(tmp_path / "server")
    data = {"service": to_json(server.resource), "lock": str(tmp_path / "lock"), "what": "try it"}
    with AgentProcess("status", data) as agent:
        assert agent.answer().data["running"] is False
        for verb, running in (("start", True), ("restart", True), ("status", True), ("stop", False)):
            agent.ask(verb, data)
            assert agent.answer().data["running"] is running
        agent.hang_up()
        assert agent.end() == (0, "")


def test_a_service_is_left_alone_while_somebody_changes_the_host(tmp_path: Path) -> None:
    server = TinyServer(tmp_path / "server")
    lock = str(tmp_path / "lock")
    with held(lock, "ann@laptop", "setup team"):
        data = {"service": to_json(server.resource), "lock": lock, "what": "stop team"}
        with AgentProcess("stop", data) as agent:
            error = agent.answer().error
    assert error is not None
    assert error["kind"] == "locked"
    assert "ann@laptop is running `setup team`" in error["message"]


def test_a_server_outlives_the_agent_that_started_it(tmp_path: Path) -> None:
    server = TinyServer(tmp_path / "server")
    with AgentProcess("apply", applying(tmp_path, server.resource)) as agent:
        assert agent.answer().data == {"changes": 1}
        agent.hang_up()
        agent.end()
    status = server.resource.status()
    server.resource.stop(lambda: False)
    assert status["healthy"] is True


def test_what_is_no_service_cannot_be_started(tmp_path: Path) -> None:
    with AgentProcess("start", {"service": to_json(file(tmp_path))}) as agent:
        error = agent.answer().error
        assert error is not None
        assert "is not a service" in error["message"]


def test_what_it_makes_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        with AgentProcess("apply", applying(tmp_path, file(tmp_path))) as agent:
            agent.answer()
    finally:
        os.umask(umask)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755
    assert json.loads(json.dumps(to_json(file(tmp_path))))["mode"] == 0o644
