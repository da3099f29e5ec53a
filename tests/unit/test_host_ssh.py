"""SSH against a real sshd: who is let in, whose host key is believed, and what people are told otherwise."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Ask, answer
from mlflow_provision.host.known_hosts import fingerprint, known_keys
from mlflow_provision.host.ssh import SshHost
from mlflow_provision.ssh_target import CONFIG_VARIABLE
from tests.unit.sshd import Sshd, make_key, why_unavailable

pytestmark = [
    pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable()),
    # A thread that dies prints its traceback between our own words.
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
FAKE_AGENT = Path(__file__).parent / "fake_agent"
PASSPHRASE = "c0rrect horse"


class Machine:
    """The operator's: an ssh_config, known_hosts and keys, and a person who answers questions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known_hosts = folder / "dot-ssh" / "known_hosts"
        self.config = folder / "config"
        self.key = make_key(folder / "id")
        self.entries: list[str] = []
        self.shown: list[tuple[str, str, str]] = []
        self.asked_for: list[str] = []

    def entry(self, alias: str, server: Sshd, *lines: str, key: Path | None = None) -> None:
        """Add a `Host` to the configuration."""
        self.entries.append(
            "\n    ".join(
                [
                    f"Host {alias}",
                    *lines,
                    "HostName 127.0.0.1",
                    f"Port {server.port}",
                    f"IdentityFile {key or self.key}",
                    "IdentitiesOnly yes",
                    f"UserKnownHostsFile {self.known_hosts}",
                    "GlobalKnownHostsFile none",
                ]
            )
        )
        self.config.write_text("\n".join(self.entries) + "\n")

    def knows(self, *lines: str) -> None:
        self.known_hosts.parent.mkdir(exist_ok=True)
        self.known_hosts.write_text("".join(lines))

    def confirm(self, host: str, kind: str, key_fingerprint: str) -> bool:
        self.shown.append((host, kind, key_fingerprint))
        return True

    def passphrase(self, path: str) -> str | None:
        self.asked_for.append(path)
        return PASSPHRASE


def host(target: str = "box", ask: Ask | None = None, accept: bool = False, identity: str = "") -> SshHost:
    return SshHost(target, identity, ask or Ask(), accept, FAKE_AGENT)


def reach(machine: SshHost) -> None:
    try:
        assert answer(machine, "echo", {"a": 1}) == {"a": 1}
    finally:
        machine.close()


def failure(machine: SshHost) -> ProvisionError:
    with pytest.raises(ProvisionError) as caught:
        reach(machine)
    assert caught.value.code == ExitCode.UNREACHABLE
    return caught.value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ssh")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Sshd]:
    with Sshd(folder / "server", ("ed25519", "rsa", "ecdsa")) as sshd:
        yield sshd


@pytest.fixture(scope="module")
def other(folder: Path) -> Iterator[Sshd]:
    with Sshd(folder / "other") as sshd:
        yield sshd


@pytest.fixture
def machine(tmp_path: Path, server: Sshd, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    machine = Machine(tmp_path)
    monkeypatch.setenv(CONFIG_VARIABLE, str(machine.config))
    machine.entry("box", server)
    machine.knows(server.known)
    server.authorize(machine.key)
    return machine


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """An ssh-agent of our own; its socket."""
    path = str(tmp_path / "agent.sock")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    while not Path(path).exists():
        assert process.poll() is None
    yield path
    process.terminate()
    process.wait()


# Host keys


def test_a_host_we_know(machine: Machine) -> None:
    reach(host())


def test_a_new_host_is_shown_and_remembered(machine: Machine, server: Sshd) -> None:
    machine.known_hosts.unlink()
    machine.known_hosts.parent.rmdir()
    reach(host(ask=Ask(confirm_host_key=machine.confirm)))
    key = known_keys(f"[127.0.0.1]:{server.port}", (machine.known_hosts,))[0]
    assert machine.shown == [(f"127.0.0.1 port {server.port}", "ED25519", fingerprint(key.blob))]
    listed = subprocess.run(["ssh-keygen", "-lf", server.folder / "host_ed25519.pub"], capture_output=True, text=True)
    assert fingerprint(key.blob) in listed.stdout
    reach(host())  # nobody is asked again
    subprocess.run(["ssh", "-F", machine.config, "-o", "BatchMode=yes", "box", "true"], check=True)


def test_a_new_host_that_is_not_accepted(machine: Machine) -> None:
    machine.knows()
    error = failure(host(ask=Ask(confirm_host_key=lambda *_: False)))
    assert "not accepted" in error.message
    assert machine.known_hosts.read_text() == ""


def test_a_new_host_and_nobody_to_ask(machine: Machine) -> None:
    machine.knows()
    error = failure(host())
    assert "SHA256:" in error.message
    assert "`ssh box`" in error.hint
    assert "--accept-new-host-key" in error.hint
    assert machine.known_hosts.read_text() == ""


def test_a_new_host_accepted_in_advance(machine: Machine, server: Sshd) -> None:
    machine.knows()
    reach(host(accept=True))
    assert machine.known_hosts.read_text() == server.known


def test_strict_host_key_checking_is_kept(machine: Machine, server: Sshd) -> None:
    machine.entry("strict", server, "StrictHostKeyChecking yes")
    machine.knows()
    assert "StrictHostKeyChecking" in failure(host("strict", accept=True)).message


def test_hashed_names(machine: Machine, server: Sshd) -> None:
    machine.entry("hashed", server, "HashKnownHosts yes")
    machine.knows()
    reach(host("hashed", accept=True))
    assert "127.0.0.1" not in machine.known_hosts.read_text()
    reach(host())


def test_an_alias_for_the_host_key(machine: Machine, server: Sshd) -> None:
    machine.entry("alias", server, "HostKeyAlias the-box")
    machine.knows(f"the-box {server.host_key()}\n")
    reach(host("alias"))


@pytest.mark.parametrize("accept", [False, True])
def test_a_changed_host_key_is_fatal(machine: Machine, server: Sshd, other: Sshd, accept: bool) -> None:
    machine.knows(f"[127.0.0.1]:{server.port} {other.host_key()}\n")
    error = failure(host(ask=Ask(confirm_host_key=machine.confirm), accept=accept))
    assert "HAS CHANGED" in error.message
    assert error.message.count("SHA256:") == 2
    assert f"ssh-keygen -f {machine.known_hosts} -R '[127.0.0.1]:{server.port}'" in error.hint
    assert machine.shown == []


def test_another_kind_of_key_than_the_known_one_is_fatal_too(machine: Machine, other: Sshd) -> None:
    machine.entry("other", other)
    stranger = make_key(machine.folder / "stranger", "ecdsa")
    machine.knows(f"[127.0.0.1]:{other.port} {' '.join(Path(f'{stranger}.pub').read_text().split()[:2])}\n")
    assert "expected the ECDSA key" in failure(host("other", accept=True)).message


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_the_kind_of_key_we_know_is_asked_for(machine: Machine, server: Sshd, kind: str) -> None:
    machine.knows(f"[127.0.0.1]:{server.port} {server.host_key(kind)}\n")
    reach(host())


def test_a_revoked_host_key(machine: Machine, server: Sshd) -> None:
    machine.knows(server.known, f"@revoked * {server.host_key()}\n")
    assert "revoked" in failure(host()).message


# Keys of the operator


def test_a_key_that_is_refused(machine: Machine, server: Sshd) -> None:
    machine.entry("stranger", server, key=make_key(machine.folder / "stranger"))
    error = failure(host("stranger"))
    assert "refused the user" in error.message
    assert str(machine.folder / "stranger") in error.message
    assert "ssh -v stranger" in error.hint


def test_a_host_that_takes_passwords_only(folder: Path, machine: Machine) -> None:
    with Sshd(folder / "passwords", options="PubkeyAuthentication no\nMatch all\nPasswordAuthentication yes") as server:
        machine.entry("passwords", server)
        machine.knows(server.known)
        assert "it takes no keys, only password" in failure(host("passwords")).message


def test_a_host_that_hangs_up_after_too_many_keys(folder: Path, machine: Machine) -> None:
    with Sshd(folder / "hasty", options="MaxAuthTries 2") as server:
        keys = [f"IdentityFile {make_key(machine.folder / f'key{number}')}" for number in range(4)]
        machine.entry("hasty", server, *keys)
        machine.knows(server.known)
        error = failure(host("hasty"))
        assert "then it hung up" in error.message
        assert "key0" in error.message


def test_no_key_at_all(machine: Machine, server: Sshd) -> None:
    machine.entry("keyless", server, key=machine.folder / "nothing")
    error = failure(host("keyless"))
    assert "no SSH key to offer" in error.message
    assert "--identity," in error.hint


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        *(("rsa", form) for form in ("PEM", "PKCS8", "RFC4716")),
        *(("ecdsa", form) for form in ("PEM", "RFC4716")),
        ("ed25519", "RFC4716"),
    ],
)
@pytest.mark.parametrize("passphrase", ["", PASSPHRASE])
def test_kinds_of_keys(machine: Machine, server: Sshd, kind: str, form: str, passphrase: str) -> None:
    key = make_key(machine.folder / "key", kind, passphrase, form)
    server.authorize(key)
    machine.entry("kinds", server, key=machine.folder / "nothing")
    reach(host("kinds", identity=str(key), ask=Ask(key_passphrase=machine.passphrase)))
    assert machine.asked_for == ([str(key)] if passphrase else [])


def test_an_encrypted_key_and_nobody_to_ask(machine: Machine, server: Sshd) -> None:
    key = make_key(machine.folder / "locked", passphrase=PASSPHRASE)
    machine.entry("locked", server, key=key)
    error = failure(host("locked"))
    assert "encrypted" in error.message
    assert error.hint == f"ssh-add {key}"


def test_a_wrong_passphrase(machine: Machine, server: Sshd) -> None:
    key = make_key(machine.folder / "locked", passphrase=PASSPHRASE)
    machine.entry("locked", server, key=key)
    answers = iter(["wrong", "wrong too", "still wrong"])
    error = failure(host("locked", ask=Ask(key_passphrase=lambda _: next(answers))))
    assert "wrong passphrase" in error.message
    assert "wrong too" not in error.message


def test_a_key_the_agent_holds_needs_no_passphrase(machine: Machine, server: Sshd, agent: str) -> None:
    key = make_key(machine.folder / "held")
    subprocess.run(["ssh-add", "-q", key], env={**os.environ, "SSH_AUTH_SOCK": agent}, check=True)
    server.authorize(key)
    Path(key).unlink()
    Path(f"{key}.pub").rename(key)  # IdentityFile may name the public half
    machine.entry("held", server, f"IdentityAgent {agent}", key=key)
    reach(host("held"))


def test_keys_of_the_agent_in_the_environment(
    machine: Machine, server: Sshd, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(machine.folder / "held")
    subprocess.run(["ssh-add", "-q", key], env={**os.environ, "SSH_AUTH_SOCK": agent}, check=True)
    server.authorize(key)
    monkeypatch.setenv("SSH_AUTH_SOCK", agent)
    machine.entry("any", server, "IdentitiesOnly no", key=machine.folder / "nothing")
    reach(host("any"))
    machine.entry("only", server, key=machine.folder / "nothing")
    assert "no SSH key to offer" in failure(host("only")).message


def test_a_file_that_is_no_key(machine: Machine) -> None:
    rubbish = machine.folder / "rubbish"
    rubbish.write_text("this is no key")
    reach(host(identity=str(rubbish)))  # the configured one still serves


# The way there


def test_a_gateway(machine: Machine, server: Sshd, other: Sshd) -> None:
    other.authorize(machine.key)
    machine.entry("gateway", other)
    machine.entry("far", server, "ProxyJump gateway")
    machine.knows(server.known, other.known)
    reach(host("far"))


def test_gateways_are_passed_in_the_order_openssh_takes(machine: Machine, server: Sshd, other: Sshd) -> None:
    other.authorize(machine.key)
    machine.entry("first", server)
    machine.entry("second", other)
    machine.entry("far", server, "ProxyJump first,second")
    machine.knows(server.known, other.known)
    reach(host("far"))


def test_the_host_key_of_a_gateway_is_checked(machine: Machine, server: Sshd, other: Sshd) -> None:
    other.authorize(machine.key)
    machine.entry("gateway", other)
    machine.entry("far", server, "ProxyJump gateway")
    assert f"127.0.0.1 port {other.port} is unknown" in failure(host("far")).message
    reach(host("far", ask=Ask(confirm_host_key=machine.confirm)))
    assert [address for address, _, _ in machine.shown] == [f"127.0.0.1 port {other.port}"]


def test_a_gateway_that_refuses_us(machine: Machine, server: Sshd, other: Sshd) -> None:
    machine.entry("gateway", other, key=make_key(machine.folder / "stranger"))
    machine.entry("far", server, "ProxyJump gateway")
    machine.knows(server.known, other.known)
    assert failure(host("far")).message.startswith("the gateway gateway refused the user")


def test_a_gateway_that_cannot_reach_the_host(machine: Machine, server: Sshd, other: Sshd) -> None:
    other.authorize(machine.key)
    machine.entry("gateway", other)
    machine.entry("far", server, "ProxyJump gateway", f"Port {free_port()}")
    machine.knows(server.known, other.known)
    assert "the gateway gateway cannot reach far" in failure(host("far")).message


def test_gateways_in_a_circle(machine: Machine, server: Sshd) -> None:
    machine.entry("a", server, "ProxyJump b")
    machine.entry("b", server, "ProxyJump a")
    assert "circles" in failure(host("a")).message


def test_a_proxy_command(machine: Machine, server: Sshd, other: Sshd) -> None:
    other.authorize(machine.key)
    machine.entry("gateway", other)
    machine.entry("far", server, f"ProxyCommand ssh -F {machine.config} -W %h:%p gateway")
    machine.knows(server.known, other.known)
    reach(host("far"))


def test_a_proxy_command_that_fails(machine: Machine, server: Sshd) -> None:
    machine.entry("far", server, "ProxyCommand echo no way >&2; exit 1")
    assert "its ProxyCommand said: no way" in failure(host("far")).message


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_nothing_listens(machine: Machine, server: Sshd) -> None:
    machine.entry("gone", server, f"Port {free_port()}")
    error = failure(host("gone"))
    assert "connection refused" in error.message
    assert "ssh -v gone" in error.hint


def test_nobody_answers(machine: Machine, server: Sshd) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        queued = [socket.socket() for _ in range(3)]
        for waiting in queued:
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        machine.entry("silent", server, f"Port {full.getsockname()[1]}", "ConnectTimeout 1")
        assert "no answer within 1 s" in failure(host("silent")).message
        for waiting in queued:
            waiting.close()


def test_an_unknown_name(machine: Machine, server: Sshd) -> None:
    machine.entry("lost", server, "HostName no-such-host.invalid")
    error = failure(host("lost"))
    assert "'no-such-host.invalid' is not known" in error.message
    assert "ssh -G lost" in error.hint


def test_something_else_than_an_ssh_server(machine: Machine, server: Sshd) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def greet() -> None:
            connection, _ = listening.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        threading.Thread(target=greet, daemon=True).start()
        machine.entry("web", server, f"Port {listening.getsockname()[1]}")
        assert "not an SSH server" in failure(host("web")).message
    assert logging.getLogger("paramiko").handlers, "its traceback would be printed"


# Once there


def test_the_connection_is_kept_and_opened_anew_when_it_died(machine: Machine) -> None:
    reached = host()
    link = reached.open()
    assert reached.open() is link
    link.transport.sock.shutdown(socket.SHUT_RDWR)
    link.transport.join(5)
    reach(reached)


def test_a_connection_that_dies_within_a_request(machine: Machine) -> None:
    reached = host()
    events = reached.request("steps", {"steps": 100, "seconds": 0.1})
    next(events)
    reached.open().transport.sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ProvisionError) as caught:
        list(events)
    assert caught.value.code == ExitCode.UNREACHABLE
    assert caught.value.message.startswith("the connection to box was lost during “step")
    assert "it continues where it stopped" in caught.value.hint


def test_a_gateway_that_dies_within_a_request(machine: Machine, server: Sshd, other: Sshd) -> None:
    other.authorize(machine.key)
    machine.entry("gateway", other)
    machine.entry("far", server, "ProxyJump gateway")
    machine.knows(server.known, other.known)
    reached = host("far")
    events = reached.request("steps", {"steps": 100, "seconds": 0.1})
    next(events)
    gateway = reached.open().transport.sock.transport
    gateway.sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ProvisionError) as caught:
        list(events)
    assert caught.value.code == ExitCode.UNREACHABLE
    reached.close()


def test_much_in_both_directions(machine: Machine) -> None:
    reached = host()
    size = 5_000_000
    assert answer(reached, "flood", {"lines": 2000, "stderr": 500_000, "blob": "x" * size}) == {"received": size}
    reached.close()


def test_interrupt(machine: Machine) -> None:
    reached = host()
    with pytest.raises(ProvisionError) as caught:
        for _ in reached.request("steps", {"steps": 100, "seconds": 0.1}):
            reached.interrupt()
    assert caught.value.code == ExitCode.INTERRUPTED
    reached.close()


def test_no_secret_is_in_an_argument_list(machine: Machine) -> None:
    reached = host()
    assert "canary" not in answer(reached, "where", {"password": "canary"})["arguments"]
    reached.close()


@pytest.mark.parametrize("verb", ["crash", "killed", "silent"])
def test_an_agent_that_dies(machine: Machine, verb: str) -> None:
    reached = host()
    with pytest.raises(ProvisionError) as caught:
        answer(reached, verb, {})
    assert caught.value.code == ExitCode.FAILED
    assert answer(reached, "echo", {}) == {}
    reached.close()


def test_an_account_that_sends_us_to_another_user(folder: Path, machine: Machine) -> None:
    words = 'Please login as the user "ubuntu" rather than the user "root".'
    with Sshd(folder / "ec2", options=f"ForceCommand echo '{words}'; exit 142") as ec2:
        ec2.authorize(machine.key)
        machine.entry("ec2", ec2)
        machine.knows(ec2.known)
        error = failure(host("ec2"))
        assert "wants another user: ubuntu" in error.message
        assert "ubuntu@" in error.hint


# Questions of the agent in the middle of a request.


def test_the_agent_asks_and_is_answered(server: Sshd, machine: Machine, tmp_path: Path) -> None:
    from mlflow_provision.operator_folder import OperatorFolder
    from tests.unit.asking_agent import asking_agent

    folder = OperatorFolder(tmp_path / "backups", "server")
    host = SshHost("box", agent=asking_agent(tmp_path))
    data = {"destination": f"operator:{folder.place}", "user": "", "pieces": 40}
    assert answer(host, "copy", data, folder)["same"]
    with pytest.raises(ProvisionError, match="nobody here can answer"):
        answer(host, "copy", data)
    host.close()
    assert (tmp_path / "backups" / "server" / "id" / "part").stat().st_size == 40 * 256 * 1024
