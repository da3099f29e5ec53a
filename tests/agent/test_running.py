"""Is the server that runs the one its files describe, does it answer, and if not: why?"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.running import health, relevant, stale, wait_healthy
from tests.agent.health_page import HealthPage

CRASHES = Path(__file__).with_name("crashes")


def nothing() -> str:
    return ""


def never() -> bool:
    return False


@pytest.fixture
def watched(tmp_path: Path) -> tuple[str, ...]:
    """Three files, and what the start script writes down about them."""
    files = [tmp_path / name for name in ("server.env", "file with spaces", "basic_auth.ini")]
    for number, path in enumerate(files):
        path.write_text(f"content {number}\n")
    with (tmp_path / "started-with").open("w") as output:
        subprocess.run(["sha256sum", *map(str, files)], stdout=output, check=True)
    return tuple(map(str, files))


def found(watched: tuple[str, ...]) -> list[str]:
    return [Path(path).name for path in stale(str(Path(watched[0]).with_name("started-with")), watched)]


def test_nothing_is_stale_after_a_start(watched: tuple[str, ...]) -> None:
    assert found(watched) == []


def test_an_edit_is_stale_and_taking_it_back_is_not(watched: tuple[str, ...]) -> None:
    before = Path(watched[1]).read_bytes()
    Path(watched[1]).write_text("content 2\n")
    assert found(watched) == ["file with spaces"]
    Path(watched[1]).write_bytes(before)
    assert found(watched) == []


def test_touching_a_file_is_no_change(watched: tuple[str, ...]) -> None:
    Path(watched[0]).touch()
    Path(watched[0]).chmod(0o600)
    assert found(watched) == []


def test_a_missing_file_is_stale_and_so_is_a_new_one(watched: tuple[str, ...], tmp_path: Path) -> None:
    Path(watched[2]).unlink()
    (tmp_path / "credentials").touch()
    assert found((*watched, str(tmp_path / "credentials"))) == ["basic_auth.ini", "credentials"]


def test_a_switched_link_is_stale(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "release.json").write_text(name)
    (tmp_path / "venv").symlink_to("old")
    through = str(tmp_path / "venv" / "release.json")
    with (tmp_path / "started-with").open("w") as output:
        subprocess.run(["sha256sum", through], stdout=output, check=True)
    assert stale(str(tmp_path / "started-with"), (through,)) == []
    (tmp_path / "venv").unlink()
    (tmp_path / "venv").symlink_to("new")
    assert stale(str(tmp_path / "started-with"), (through,)) == [through]


@pytest.mark.parametrize("content", [None, "", "garbage\n", "\x00" * 100])
def test_without_a_note_of_its_start_a_server_is_stale(watched: tuple[str, ...], content: str | None) -> None:
    note = Path(watched[0]).with_name("started-with")
    note.unlink() if content is None else note.write_text(content)
    assert found(watched)


def test_healthy_is_200_and_nothing_else(page: HealthPage) -> None:
    assert health(page.url) == ""
    assert page.asked == [f"/health 127.0.0.1:{page.port}"]
    page.status = 503
    assert health(page.url) == "/health answers 503"
    page.down()
    assert health(page.url) == "no answer: Connection refused"
    page.up()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "what answers on its port does not speak HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "what answers on its port does not speak HTTP"),
        (b"\xff" * 5000, "what answers on its port does not speak HTTP"),
        (b"NOTHTTP 200 OK\r\n", "what answers on its port does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\n\r\n", "/health answers 302"),
        (b"HTTP/1.0 401 Unauthorized\r\n\r\n", "/health answers 401"),
    ],
)
def test_whatever_answers_is_no_crash(answer: bytes, problem: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert health(f"http://127.0.0.1:{server.getsockname()[1]}") == problem
        thread.join()


def test_who_accepts_and_is_silent_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        assert health(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.1).startswith("no answer: ")
        assert time.monotonic() - started < 2


def test_an_ipv6_address() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        server.settimeout(5)
        port = server.getsockname()[1]
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(b"HTTP/1.1 200 OK\r\n\r\n"))
        thread.start()
        assert health(f"http://[::1]:{port}") == ""
        thread.join()


def test_waiting_ends_when_it_is_healthy(page: HealthPage) -> None:
    page.status = 503
    threading.Timer(0.3, lambda: setattr(page, "status", 200)).start()
    started = time.monotonic()
    wait_healthy(page.url, nothing, never)
    assert 0.2 < time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("died", "stopping", "kind", "says"),
    [
        (lambda: "the reason", never, "crashed", "the server started and died:\nthe reason"),
        (nothing, lambda: True, "interrupted", "stopped"),
        (nothing, never, "unhealthy", "not healthy after 1 s: /health answers 503"),
    ],
)
def test_waiting_ends_when_there_is_nothing_to_wait_for(
    page: HealthPage, died: Callable[[], str], stopping: Callable[[], bool], kind: str, says: str
) -> None:
    page.status = 503
    started = time.monotonic()
    with pytest.raises(AgentError) as caught:
        wait_healthy(page.url, died, stopping, timeout=0.8)
    assert time.monotonic() - started < 2
    assert caught.value.kind == kind
    assert says in caught.value.message


def test_somebody_else_who_answers_is_not_the_server(page: HealthPage) -> None:
    with pytest.raises(AgentError, match=rf"not healthy after 1 s: port {page.port} is held by .*{os.getpid()}"):
        wait_healthy(page.url, nothing, never, timeout=0.8, ours=lambda pid: pid != os.getpid())
    with pytest.raises(AgentError, match=f"the reason\nport {page.port} is held by") as caught:
        wait_healthy(page.url, lambda: "the reason", never, ours=lambda pid: False)
    assert "--port" in caught.value.hint
    wait_healthy(page.url, nothing, never, ours=lambda pid: pid == os.getpid())


def printed(crash: str) -> list[str]:
    return (CRASHES / f"{crash}.txt").read_text().splitlines()


def why(crash: str) -> str:
    return relevant(printed(crash))


def test_the_exception_of_a_crash_without_its_frames() -> None:
    assert why("nopassword").startswith("mlflow.exceptions.MlflowException: MLflow Authentication needs a password")
    assert len(why("nopassword").splitlines()) == 1
    assert why("newerschema").startswith("mlflow.exceptions.MlflowException: Detected out-of-date database schema")
    assert len(why("newerschema").splitlines()) == 1


def test_an_exception_of_several_lines_is_whole() -> None:
    lines = why("nosecret").splitlines()
    assert lines[0].startswith("mlflow.exceptions.MlflowException: A static secret key needs to be set")
    assert lines[1] == "export MLFLOW_FLASK_SERVER_SECRET_KEY='my-secret-key'"
    assert "in order to prevent validation issues" in lines[2]


def test_a_taken_port_has_no_traceback_and_is_told_all_the_same() -> None:
    assert "[Errno 98] error while attempting to bind on address" in why("portused")
    assert "Deprecat" not in why("portused")
    assert "[MLflow] Security middleware" not in why("portused")


def test_of_workers_that_die_again_and_again_the_last_is_told() -> None:
    assert why("respawning").splitlines()[0] == "ImportError: the second worker died of this"


def test_a_traceback_that_is_cut_shows_where_it_was() -> None:
    lines = (CRASHES / "respawning.txt").read_text().splitlines()[:6]
    assert "self.run()" in relevant(lines)


def test_of_a_traceback_that_is_being_written_the_one_before_is_told() -> None:
    lines = printed("respawning")
    begun = ["Traceback (most recent call last):", '  File "server.py", line 1, in main', "    run()"]
    assert relevant([*lines, *begun]).splitlines()[0] == "ImportError: the second worker died of this"
    assert relevant(begun).splitlines() == begun[1:]


def test_a_long_log_is_cut_to_its_end() -> None:
    assert relevant([f"line {number}" for number in range(100)]).splitlines() == [f"line {n}" for n in range(80, 100)]
    assert relevant(["", "  ", "\t"]) == ""
    assert relevant([]) == ""
