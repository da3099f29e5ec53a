"""Which hop of the way to a host is broken: against a real sshd, and against what is none."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mlflow_provision import provision
from mlflow_provision.config import Deployment, MLflow
from mlflow_provision.doctor import ports
from mlflow_provision.doctor.case import Case
from mlflow_provision.doctor.way import reach
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Host
from mlflow_provision.host.hops import HOPS
from mlflow_provision.host.ssh import SshHost
from mlflow_provision.ssh_target import CONFIG_VARIABLE
from mlflow_provision.tunnel import registry
from mlflow_provision.tunnel.states import State, Status
from tests.unit.sshd import Sshd, make_key, why_unavailable

pytestmark = pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable())
FACTS = {"user": "root", "python": {"version": "3.11.2", "path": "/usr/bin/python3"}, "applied": {"name": "server"}}


class Machine:
    """The operator's: a configuration for the host `box`, and a key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = make_key(folder / "id")

    def configure(
        self, port: int, known: str = "", name: str = "127.0.0.1", *lines: str, key: Path | None = None
    ) -> None:
        (self.folder / "known_hosts").write_text(known)
        settings = [
            *lines,
            f"HostName {name}",
            f"Port {port}",
            f"IdentityFile {key or self.key}",
            "IdentitiesOnly yes",
            f"UserKnownHostsFile {self.folder / 'known_hosts'}",
            "GlobalKnownHostsFile none",
        ]
        (self.folder / "config").write_text("\n    ".join(["Host box", *settings]) + "\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config"))
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("ssh") / "server") as sshd:
        yield sshd


def case(port: int = 5000) -> Case:
    return Case(Deployment("server", "box", mlflow=MLflow(port=port)), Path("server.toml"))


def connect() -> Host:
    host = SshHost("box")
    host.open()
    return host


@contextmanager
def examined(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Case, dict[str, str], bool]]:
    """The case, its verdicts by hop, and whether the host was reached."""
    monkeypatch.setattr(provision, "look", lambda host, deployment: (FACTS, 0.0))
    found = case()
    reached = reach(found, connect)
    try:
        yield found, {finding.check: finding.verdict for finding in found.findings}, reached
    finally:
        if found.host:
            found.host.close()


def broken_at(hop: str, verdicts: dict[str, str]) -> None:
    """Before it all is well, after it nothing was tried."""
    place = HOPS.index(hop)
    wanted = {one: "ok" if HOPS.index(one) < place else "bad" if one == hop else "skipped" for one in HOPS}
    assert verdicts == wanted


def test_a_way_without_a_fault_tells_what_it_saw(
    machine: Machine, server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.configure(server.port, server.known)
    server.authorize(machine.key)
    with examined(monkeypatch) as (found, verdicts, reached):
        assert reached and verdicts == dict.fromkeys(HOPS, "ok")
        seen = {finding.check: finding.evidence for finding in found.findings}
    assert seen["name"] == "127.0.0.1 is 127.0.0.1" and str(server.port) in seen["network"]
    assert seen["sshd"].startswith("SSH-2.0-OpenSSH") and "SHA256:" in seen["host-key"]
    assert seen["python"] == "Python 3.11.2 (/usr/bin/python3)" and seen["sudo"] == "it runs as root"


def test_an_unknown_name(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.configure(22, name="no-such-host.invalid")
    with examined(monkeypatch) as (found, verdicts, reached):
        assert not reached
        broken_at("name", verdicts)
    (bad,) = found.wrong("name")
    assert "'no-such-host.invalid' is not known" in bad.evidence and "ssh -G box" in bad.remedy and bad.cause


def test_nothing_listens(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        machine.configure(free.getsockname()[1])
        with examined(monkeypatch) as (found, verdicts, reached):
            assert not reached
            broken_at("network", verdicts)
    assert "connection refused" in found.wrong("network")[0].evidence


def test_something_that_is_no_sshd(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"220 mail.example.org ESMTP\r\n" * 200)

        threading.Thread(target=greet, daemon=True).start()
        machine.configure(listener.getsockname()[1])
        with examined(monkeypatch) as (_, verdicts, _reached):
            broken_at("sshd", verdicts)


def test_a_host_that_is_not_known(machine: Machine, server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.configure(server.port)
    with examined(monkeypatch) as (found, verdicts, _):
        broken_at("host-key", verdicts)
    assert "--accept-new-host-key" in found.wrong("host-key")[0].remedy
    assert "never connected" in found.wrong("host-key")[0].cause


def test_a_host_whose_key_has_changed(machine: Machine, server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_key(machine.folder / "other")
    machine.configure(server.port, f"[127.0.0.1]:{server.port} {Path(f'{other}.pub').read_text()}")
    with examined(monkeypatch) as (found, verdicts, _):
        broken_at("host-key", verdicts)
    assert "HAS CHANGED" in found.wrong("host-key")[0].evidence
    assert "made anew" in found.wrong("host-key")[0].cause


def test_a_key_that_is_not_accepted(machine: Machine, server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.configure(server.port, server.known, key=make_key(machine.folder / "stranger"))
    with examined(monkeypatch) as (found, verdicts, _):
        broken_at("ssh-login", verdicts)
    assert "stranger" in found.wrong("ssh-login")[0].evidence


def test_no_sudo_and_no_python(machine: Machine, server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the bootstrap meets: the real request fails, the hops over SSH keep what was seen of them."""
    from mlflow_provision.host import refusals
    from mlflow_provision.host.where import Where

    machine.configure(server.port, server.known)
    server.authorize(machine.key)
    where = Where("box", "ssh box", "ana")
    for hop, error in (("sudo", refusals.no_sudo(where)), ("python", refusals.no_python(where))):

        def fail(host: Host, deployment: Deployment, error: ProvisionError = error) -> None:
            raise error

        found = case()
        monkeypatch.setattr(provision, "look", fail)
        assert not reach(found, connect)
        broken_at(hop, {finding.check: finding.verdict for finding in found.findings})
        assert found.host
        found.host.close()


def test_a_proxy_that_complains_is_the_network(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.configure(22, "", "127.0.0.1", "ProxyCommand sh -c 'echo no way to it >&2; exit 1'")
    with examined(monkeypatch) as (found, verdicts, _):
        broken_at("network", verdicts)
    assert "no way to it" in found.wrong("network")[0].evidence


def test_somebody_who_stops_is_no_finding() -> None:
    def stop() -> Host:
        raise ProvisionError("no password for sudo was given", code=ExitCode.INTERRUPTED)

    with pytest.raises(ProvisionError):
        reach(case(), stop)


def test_our_program_failed_there(machine: Machine, server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.configure(server.port, server.known)
    server.authorize(machine.key)

    def fail(host: Host, deployment: Deployment) -> None:
        raise ProvisionError("our program on box was killed", "was it short of memory?")

    found = case()
    monkeypatch.setattr(provision, "look", fail)
    assert not reach(found, connect)
    assert found.findings[-1].verdict == "unknown" and "short of memory" in found.findings[-1].evidence
    assert found.host
    found.host.close()


# The tunnel's way, over the same connection.


@pytest.fixture(scope="module")
def closed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("ssh") / "closed", options="AllowTcpForwarding no") as sshd:
        yield sshd


def forwarding(machine: Machine, server: Sshd, port: int) -> tuple[str, str]:
    machine.configure(server.port, server.known)
    server.authorize(machine.key)
    found = case(port)
    found.facts = FACTS
    found.host = connect()
    try:
        finding = ports.forwarding(found)
    finally:
        found.host.close()
    return finding.verdict, finding.evidence


def test_sshd_forwards_or_does_not(machine: Machine, server: Sshd, closed_server: Sshd) -> None:
    assert forwarding(machine, server, server.port) == ("ok", f"to 127.0.0.1 port {server.port}")
    verdict, evidence = forwarding(machine, closed_server, server.port)
    assert verdict == "bad" and evidence.startswith("sshd: ") and "prohibited" in evidence
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        verdict, evidence = forwarding(machine, server, free.getsockname()[1])
    assert verdict == "bad" and evidence.startswith("sshd cannot reach")


def test_a_server_that_is_down_is_not_blamed_on_sshd() -> None:
    found = case()
    found.facts = {"applied": None}
    assert ports.forwarding(found).evidence == "the server does not answer on its host"


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"OK")

    def log_message(self, *_: object) -> None: ...


def open_server(host: str, port: int) -> Case:
    found = Case(Deployment("server", host, mlflow=MLflow(port=port, listen="0.0.0.0")), Path("server.toml"))
    found.facts = FACTS
    return found


def test_a_port_that_is_open_for_others_is_tried_from_here(machine: Machine) -> None:
    with HTTPServer(("127.0.0.1", 0), Healthy) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        machine.configure(22)
        port = served.server_port
        straight = ports.reach(open_server("127.0.0.1", port))
        assert straight and (straight.verdict, straight.evidence) == ("ok", f"http://127.0.0.1:{port} answers")
        alias = ports.reach(open_server("box", port))  # a name that only ssh knows
        assert alias and alias.verdict == "warn" and f"http://127.0.0.1:{port} answers" in alias.evidence
        served.shutdown()
    closed = ports.reach(open_server("127.0.0.1", port))
    assert closed and closed.verdict == "bad" and "refused" in closed.evidence
    both = ports.reach(open_server("box", port))
    assert both and both.verdict == "bad" and f"http://127.0.0.1:{port}: connection refused" in both.evidence
    down = open_server("box", port)
    down.facts = {"applied": None}
    skipped = ports.reach(down)
    assert skipped and skipped.verdict == "skipped"


def test_a_port_behind_loopback_is_not_tried_from_here() -> None:
    assert ports.reach(case()) is None


@pytest.mark.parametrize(
    ("state", "answers", "verdict"),
    [
        (None, True, "skipped"),
        (State.UP, True, "ok"),
        (State.UP, False, "bad"),
        (State.WAITING, True, "bad"),
        (State.MLFLOW_DOWN, False, "bad"),
    ],
)
def test_the_tunnel(monkeypatch: pytest.MonkeyPatch, state: State | None, answers: bool, verdict: str) -> None:
    with HTTPServer(("127.0.0.1", 0), Healthy) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        port = served.server_port if answers else 1
        status = Status("server", "box", "127.0.0.1:5000", port, state, "why it is so") if state else None
        monkeypatch.setattr(registry, "running_on", lambda deployment: status)
        found = case()
        found.facts = FACTS
        finding = ports.tunnel(found)
        served.shutdown()
    assert finding.verdict == verdict
    if state not in (None, State.UP):
        assert "why it is so" in finding.evidence
    down = case()  # a server that is down is not the tunnel's fault
    assert ports.tunnel(down).verdict in ("skipped", "ok")


# This machine as the host.


def test_this_machine_has_no_hops_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_provision.host import LocalHost

    monkeypatch.setattr(provision, "look", lambda host, deployment: (FACTS, 0.0))
    here = Case(Deployment("local", "local", scope="user"), tmp_path)
    assert reach(here, LocalHost)
    assert [finding.check for finding in here.findings] == ["python"]


@pytest.mark.skipif(os.geteuid() == 0 and not sys.platform.startswith("linux"), reason="needs Linux")
def test_sudo_is_a_hop_of_this_machine_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    refusing = programs / "sudo"
    refusing.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    refusing.chmod(refusing.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    from mlflow_provision.host import LocalHost

    here = Case(Deployment("local", "local", scope="system"), tmp_path)
    assert not reach(here, lambda: LocalHost("system"))
    assert [(one.check, one.verdict) for one in here.findings] == [("sudo", "bad"), ("python", "skipped")]
    here.reached.close()
