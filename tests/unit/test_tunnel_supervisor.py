"""The states of a tunnel and what leads from one to the other, with an ssh that does what the test wants."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mlflow_provision.config import Deployment
from mlflow_provision.tunnel.pace import Backoff, Pace, SleepWatch
from mlflow_provision.tunnel.probe import Answer, Login, is_mlflow
from mlflow_provision.tunnel.states import State, Status
from mlflow_provision.tunnel.supervisor import Supervisor
from tests.unit.fake_ssh import FakeSsh

FAST = Pace(
    tick=0.01, check_up=0.05, check_down=0.03, answer=0.3, answer_awake=0.2, stalled=0.3, first_delay=0.02, connect=2.0
)
DEPLOYMENT = Deployment("prod", "ubuntu@box")
LOST = "Timeout, server box not responding."
DENIED = "ubuntu@box: Permission denied (publickey)."


class Page(BaseHTTPRequestHandler):
    """As much of MLflow as a tunnel looks at; `mode` changes it."""

    mode: ClassVar[str] = "mlflow"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        Page.asked.append(self.path)
        if self.mode == "hangs":
            time.sleep(1)
        if self.mode == "unwell":
            return self._answer(503, b"no")
        if self.mode == "other":
            return self._answer(200, b"<html>")
        if self.path == "/health":
            return self._answer(200, b"OK")
        if "Authorization" in self.headers and self.mode != "password changed":
            return self._answer(200, b"3.17.2")
        return self._answer(401, b"You are not authenticated")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="mlflow"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(Page, "mode", "mlflow")
    Page.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    fake = FakeSsh(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return fake


class Trial:
    """Runs a supervisor; at each state a step of the test may follow. It ends where the steps do."""

    def __init__(self, asks: bool = False, login: Login | None = None, wall: Callable[[], float] = time.time) -> None:
        self.states: list[State] = []
        self.statuses: list[Status] = []
        self._steps: dict[tuple[State, int], Callable[[], None]] = {}
        self._end = ""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        status = Status("prod", "ubuntu@box", "127.0.0.1:5000", port)
        self.supervisor = Supervisor(
            DEPLOYMENT, login or Login("admin", "secret"), status, self, lambda: self._end, asks, FAST, wall
        )

    def at(self, state: State, time: int, step: Callable[[], object]) -> Trial:
        """When it comes into this state for the n-th time."""
        self._steps[state, time] = lambda: (step(), None)[1]
        return self

    def stop(self) -> None:
        self._end = "enough"

    def run(self) -> Status:
        deadline = threading.Timer(15, self.stop)
        deadline.start()
        try:
            return self.supervisor.run()
        finally:
            deadline.cancel()

    def changed(self, status: Status) -> None:
        self.states.append(status.state)
        self.statuses.append(status)
        self._steps.get((status.state, self.states.count(status.state)), lambda: None)()

    def seen(self, status: Status) -> None: ...


C, U, S, D, W = State.CONNECTING, State.UP, State.STALLED, State.MLFLOW_DOWN, State.WAITING


def test_up_means_that_mlflow_answers_to_our_login(ssh: FakeSsh, mlflow: int) -> None:
    ssh.then(leads_to=mlflow)
    trial = Trial()
    final = trial.at(U, 1, trial.stop).run()
    assert trial.states == [C, U, State.STOPPED] and final.reason == "enough" and final.checked
    assert Page.asked[:2] == ["/health", "/version"]


def test_a_changed_password_is_told_but_is_no_reason_to_end(
    ssh: FakeSsh, mlflow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Page, "mode", "password changed")
    ssh.then(leads_to=mlflow)
    trial = Trial()
    trial.at(U, 1, trial.stop).run()
    assert "refuses the password" in trial.statuses[1].reason


def test_a_lost_link_is_mended(ssh: FakeSsh, mlflow: int) -> None:
    ssh.then(leads_to=mlflow)
    ssh.then("ssh: connect to host box port 22: No route to host", code=255)
    ssh.then("ssh: Could not resolve hostname box: Temporary failure in name resolution", code=255)
    ssh.then(leads_to=mlflow)
    trial = Trial()
    trial.at(U, 1, lambda: ssh.end(1, LOST)).at(U, 2, trial.stop).run()
    assert trial.states == [C, U, W, U, State.STOPPED] and len(ssh.starts) == 4
    assert trial.statuses[2].reason == "ubuntu@box: the link was lost" and trial.statuses[3].reconnects == 1


def test_an_ssh_that_ends_hangs_up_first_and_mlflow_is_not_blamed(ssh: FakeSsh, mlflow: int) -> None:
    ssh.then(leads_to=mlflow, lingers=0.2)
    ssh.then(leads_to=mlflow)
    trial = Trial()
    trial.at(U, 1, lambda: ssh.end(1, LOST)).at(U, 2, trial.stop).run()
    assert trial.states == [C, U, W, U, State.STOPPED]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("ssh: connect to host box port 22: Connection refused", "nothing answers on its SSH port"),
        ("ssh: Could not resolve hostname box: Name or service not known", "not known to DNS"),
        ("ssh: connect to host box port 22: Connection timed out", "does not answer"),
    ],
)
def test_a_host_that_was_never_reached_is_not_waited_for(ssh: FakeSsh, words: str, reason: str) -> None:
    ssh.then(words, code=255)
    final = Trial().run()
    assert final.state is State.UNREACHABLE and reason in final.reason and final.hint == "see why: ssh -v ubuntu@box"
    assert len(ssh.starts) == 1


def test_a_refused_key_ends_at_once_but_thrice_after_it_was_good(ssh: FakeSsh, mlflow: int) -> None:
    ssh.then(DENIED, code=255)
    assert Trial().run().state is State.REFUSED and len(ssh.starts) == 1
    ssh.then(leads_to=mlflow)
    ssh.then(DENIED, code=255)
    trial = Trial()
    final = trial.at(U, 1, lambda: ssh.end(2, LOST)).run()
    assert final.state is State.REFUSED and trial.states == [C, U, W, State.REFUSED]
    assert len(ssh.starts) == 1 + 1 + 3


@pytest.mark.parametrize(
    ("says", "state", "hint"),
    [
        (["debug1: Server accepts key: /k", DENIED], State.REFUSED, "ssh-add"),
        (["Host key verification failed."], State.HOST_KEY, "mlflow-provision tunnel prod"),
        (
            ["@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "Host key for [box]:2222 has changed and …"],
            State.HOST_KEY,
            "ssh-keygen -R '[box]:2222'",
        ),
        (["/home/x/config: line 1: Bad configuration option: nonsense"], State.FAILED, "ssh -G"),
        (["bind [127.0.0.1]:9999: Address already in use"], State.FAILED, "ssh -G"),
    ],
)
def test_what_only_a_person_can_mend_is_not_tried_again(ssh: FakeSsh, says: list[str], state: State, hint: str) -> None:
    ssh.then(*says, code=255)
    final = Trial().run()
    assert final.state is state and hint in final.hint and len(ssh.starts) == 1


def test_mlflow_down_and_up_again_over_the_same_connection(
    ssh: FakeSsh, mlflow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh.then(leads_to=mlflow)
    trial = Trial()
    trial.at(U, 1, lambda: monkeypatch.setattr(Page, "mode", "unwell"))
    trial.at(D, 1, lambda: monkeypatch.setattr(Page, "mode", "mlflow")).at(U, 2, trial.stop).run()
    assert trial.states == [C, U, D, U, State.STOPPED] and len(ssh.starts) == 1
    assert "answers with an error" in trial.statuses[2].reason


def test_nothing_listens_behind_the_tunnel(ssh: FakeSsh) -> None:
    ssh.then(leads_to=1)
    trial = Trial()
    trial.at(D, 1, trial.stop).run()
    assert trial.statuses[1].reason == "nothing answers at 127.0.0.1:5000 on ubuntu@box"


def test_another_program_behind_the_tunnel(ssh: FakeSsh, mlflow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Page, "mode", "other")
    ssh.then(leads_to=mlflow)
    trial = Trial()
    trial.at(D, 1, trial.stop).run()
    assert trial.states == [C, D, State.STOPPED] and "another program" in trial.statuses[1].reason


def test_silence_is_first_a_question_and_then_mlflow(
    ssh: FakeSsh, mlflow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh.then(leads_to=mlflow)
    trial = Trial()
    trial.at(U, 1, lambda: monkeypatch.setattr(Page, "mode", "hangs")).at(D, 1, trial.stop).run()
    assert trial.states == [C, U, S, D, State.STOPPED] and "SSH is fine" in trial.statuses[3].reason


def test_after_a_sleep_a_dead_link_is_replaced_at_once(
    ssh: FakeSsh, mlflow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSH itself would need 15 s to notice."""
    ssh.then(leads_to=mlflow)
    ahead = [0.0]
    trial = Trial(wall=lambda: time.time() + ahead[0])

    def sleep_with_a_link_that_dies() -> None:
        monkeypatch.setattr(Page, "mode", "hangs")
        ahead[0] = 3600

    trial.at(U, 1, sleep_with_a_link_that_dies)
    trial.at(W, 1, lambda: monkeypatch.setattr(Page, "mode", "mlflow")).at(U, 2, trial.stop).run()
    assert trial.states == [C, U, W, U, State.STOPPED]
    assert "was asleep" in trial.statuses[2].reason and len(ssh.starts) == 2


def test_the_port_is_taken_while_it_is_away(ssh: FakeSsh, mlflow: int) -> None:
    """What clients send must not reach whoever has the port now."""
    ssh.then(leads_to=mlflow)
    ssh.then("ssh: connect to host box port 22: No route to host", code=255)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial = Trial()

        def take() -> None:
            squatter.bind(("127.0.0.1", trial.supervisor.status.port))
            squatter.listen()

        final = trial.at(U, 1, lambda: ssh.end(1, LOST)).at(W, 1, take).run()
    assert final.state is State.PORT_TAKEN and "used by another program" in final.reason


def test_a_connection_that_never_comes_is_given_up(ssh: FakeSsh, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a gateway hangs: ConnectTimeout does not reach ssh's own helper."""
    ssh.then(listens=False)
    began = time.monotonic()
    final = Trial().run()
    assert final.state is State.UNREACHABLE and "within 2 s" in final.reason and time.monotonic() - began < 5


def test_without_a_terminal_nothing_is_asked_and_nothing_is_shared(ssh: FakeSsh) -> None:
    for asks in (False, True):
        ssh.then(DENIED, code=255)
        Trial(asks=asks).run()
    batch, person = ssh.starts
    assert "BatchMode=yes" in batch and "BatchMode=no" in person
    assert {"ControlMaster=no", "ControlPath=none", "ExitOnForwardFailure=yes"} <= set(batch)
    assert batch[-4:] == ["-l", "ubuntu", "--", "box"]
    assert "secret" not in str(ssh.starts)


def test_the_pauses_grow_to_five_seconds_and_no_further() -> None:
    backoff = Backoff(Pace())
    delays = [backoff.delay() for _ in range(6)]
    for delay, longest in zip(delays, (1, 2, 4, 5, 5, 5), strict=True):
        assert longest * 0.75 <= delay <= longest
    backoff.reset()
    assert backoff.delay() <= 1


def test_a_sleep_is_a_jump_of_the_wall_clock() -> None:
    now = [1000.0 + time.monotonic()]
    watch = SleepWatch(lambda: now[0])
    assert not watch.slept()
    now[0] += 60
    assert watch.slept() and not watch.slept()


def test_without_a_stored_password_mlflow_is_known_by_how_it_refuses(mlflow: int) -> None:
    assert is_mlflow(mlflow, Login("admin", ""), 2) is Answer.MLFLOW
