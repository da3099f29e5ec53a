"""One operator at a time: the second is told who, what and since when; a killed one is in nobody's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlflow_provision.agent.lock import held
from mlflow_provision.agent.protocol import AgentError

HOLD = """
import sys, time
from mlflow_provision.agent.lock import held
with held(sys.argv[1], "ada@laptop", "setup server"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "lock")


def refused(path: str) -> AgentError:
    with pytest.raises(AgentError) as caught, held(path, "grace@desktop", "setup staging"):
        pytest.fail("the lock was given twice")
    return caught.value


def test_a_second_process_is_told_who_what_and_since_when_and_kill_9_frees_it(path: str) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == b"held\n"
            error = refused(path)
            assert error.kind == "locked"
            assert error.message.startswith("ada@laptop is running `setup server` on this host, started ")
            assert error.hint
        finally:
            first.kill()
            first.wait()
        with held(path, "grace@desktop", "setup staging"):
            assert json.loads(Path(path).read_text())["operator"] == "grace@desktop"


def test_the_seconds_are_those_since_it_was_taken(path: str) -> None:
    with held(path, "ada@laptop", "setup server"):
        holder = json.loads(Path(path).read_text())
        Path(path).write_text(json.dumps({**holder, "since": time.time() - 42}))
        assert refused(path).message.endswith("started 42 s ago")
        Path(path).write_text(json.dumps({**holder, "since": time.time() + 500}))  # a clock was set back
        assert refused(path).message.endswith("started 0 s ago")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"operator": "x", "what": "y", "since": "z"}', "\xff"])
def test_a_holder_that_has_not_said_who_it_is(path: str, content: str) -> None:
    with held(path, "ada@laptop", "setup server"):
        Path(path).write_text(content, encoding="latin-1")
        assert refused(path).message == "somebody else is changing this host right now"


def test_it_is_free_again_after_the_end_and_after_a_failure(path: str) -> None:
    with held(path, "ada@laptop", "setup server"):
        pass
    with pytest.raises(ZeroDivisionError), held(path, "ada@laptop", "setup server"):
        raise ZeroDivisionError
    with held(path, "grace@desktop", "setup server"):
        pass
    assert Path(path).read_text() == ""


def test_a_long_entry_before_leaves_nothing_behind_a_short_one(path: str) -> None:
    Path(path).parent.mkdir()
    Path(path).write_text("x" * 5000)
    with held(path, "a", "b"):
        assert json.loads(Path(path).read_text())["what"] == "b"


def test_programs_we_start_do_not_hold_it_longer_than_we_do(path: str) -> None:
    with held(path, "ada@laptop", "setup server"):
        program = "print(flush=True); import time; time.sleep(60)"
        server = subprocess.Popen([sys.executable, "-c", program], close_fds=False, stdout=subprocess.PIPE)
        assert server.stdout is not None
        server.stdout.readline()  # it is another program by now
    try:
        with held(path, "grace@desktop", "setup server"):
            pass
    finally:
        server.kill()
        server.communicate()


def test_a_link_in_its_place_is_not_followed(path: str, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("root:x")
    Path(path).parent.mkdir()
    Path(path).symlink_to(tmp_path / "shadow")
    with pytest.raises(OSError, match="symbolic link"), held(path, "ada@laptop", "setup server"):
        pass
    assert (tmp_path / "shadow").read_text() == "root:x"
    assert os.path.lexists(path)
