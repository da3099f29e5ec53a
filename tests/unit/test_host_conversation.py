"""One agent answers all requests of a command, and another takes over when it is gone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from mlflow_provision import blueprint
from mlflow_provision.config import Deployment
from mlflow_provision.errors import ProvisionError
from mlflow_provision.host import answer
from mlflow_provision.host.local import LocalHost
from mlflow_provision.host.process import Process

REQUEST = blueprint.facts_request(Deployment("local", "local", scope="user"))


class Counted(LocalHost):
    """Counts its agents; the real one runs, not a fake."""

    def __init__(self) -> None:
        self.started: list[Process] = []
        super().__init__()

    def _start(self, with_password: bool) -> Process:
        self.started.append(super()._start(with_password))
        return self.started[-1]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.setenv("HOME", str(tmp_path))
    # An installed release spares the look at the package index.
    release = tmp_path / "mlflow" / "releases" / REQUEST["release"]
    release.mkdir(parents=True)
    (release / "release.json").write_text("{}")
    return Counted()


def test_one_agent_answers_all_requests(host: Counted) -> None:
    first = answer(host, "facts", REQUEST)
    second = answer(host, "facts", REQUEST)
    assert second["time"] > first["time"]
    assert answer(host, "plan", {"resources": []}) == {"changes": 0}
    assert len(host.started) == 1
    host.close()


def test_a_failed_request_ends_its_agent_and_the_next_has_its_own(host: Counted) -> None:
    with pytest.raises(ProvisionError, match="no verb"):
        answer(host, "nonsense", {})
    assert answer(host, "facts", REQUEST)["user"]
    assert len(host.started) == 2
    host.close()


def test_an_agent_that_died_in_between_is_replaced(host: Counted) -> None:
    answer(host, "facts", REQUEST)
    for pid in _agents():
        os.kill(pid, signal.SIGKILL)
    assert answer(host, "facts", REQUEST)["user"]
    assert len(host.started) == 2
    host.close()


def test_the_agent_ends_when_the_host_is_closed(host: Counted) -> None:
    answer(host, "facts", REQUEST)
    assert len(_agents()) == 1
    host.close()
    deadline = time.monotonic() + 10
    while _agents():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _agents() -> list[int]:
    """Our children that run the bootstrap."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if "MLFLOW-PROVISION" in _arguments(pid)]


def _arguments(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
