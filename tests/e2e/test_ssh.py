"""Reaching a real host: sudo in all its moods, shells, broken Pythons, gateways, far away and cut off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Ask, answer, dial, pulse
from mlflow_provision.host.ssh import SshHost
from mlflow_provision.ssh_target import CONFIG_VARIABLE
from tests.e2e.waiting import until
from tests.lab import SUDO_PASSWORD, DelayProxy, LabHost
from tests.lab.image import Image

FAKE_AGENT = Path(__file__).parents[1] / "unit" / "fake_agent"


@pytest.fixture(autouse=True)
def ssh_config(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "host" in request.fixturenames:
        monkeypatch.setenv(CONFIG_VARIABLE, str(request.getfixturevalue("host").ssh_config))


@contextmanager
def reached(host: LabHost, user: str = "operator", **answers: Any) -> Iterator[SshHost]:
    connection = SshHost(f"{user}@{host.name}", ask=Ask(**answers), agent=FAKE_AGENT)
    try:
        yield connection
    finally:
        connection.close()


def failure(host: LabHost, user: str = "operator", **answers: Any) -> ProvisionError:
    with reached(host, user, **answers) as connection, pytest.raises(ProvisionError) as caught:
        answer(connection, "echo", {})
    return caught.value


@contextmanager
def missing(host: LabHost, path: str) -> Iterator[None]:
    host.run(["mv", path, f"{path}.away"])
    try:
        yield
    finally:
        host.run(["mv", f"{path}.away", path])


def test_the_agent_is_root_in_a_clean_place(host: LabHost) -> None:
    with reached(host) as connection:
        inside = answer(connection, "where", {"password": "canary"})
    assert inside["uid"] == 0
    assert inside["folder"] == "/"
    assert inside["environment"]["HOME"] == "/root"
    assert "canary" not in inside["arguments"]
    assert "" not in inside["path"]


def test_nothing_is_written_on_the_host(host: LabHost) -> None:
    with reached(host) as connection:
        answer(connection, "echo", {})
        before = host.now()
        answer(connection, "flood", {"lines": 10, "stderr": 10})
    assert [path for path in host.changed_files(before) if not path.startswith(("/run", "/var/lib/sudo"))] == []


def test_sudo_with_a_password(host: LabHost) -> None:
    asked = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return SUDO_PASSWORD

    with reached(host, "askpass", sudo_password=ask) as connection:
        for number in range(2):
            assert answer(connection, "where", {"n": number})["uid"] == 0
    assert asked == [f"[sudo] password for askpass on askpass@{host.name}"]


def test_a_wrong_sudo_password_counts_once(host: LabHost) -> None:
    answers = iter(["wrong", SUDO_PASSWORD])
    began = time.time()
    with reached(host, "askpass", sudo_password=lambda _: next(answers)) as connection:
        assert answer(connection, "where", {})["uid"] == 0
    journal = host.run(["journalctl", "-q", "-o", "cat", f"--since=@{began:.0f}", "_COMM=sudo"]).stdout
    assert journal.count("incorrect password attempt") == 1, journal
    assert "1 incorrect password attempt" in journal
    assert SUDO_PASSWORD not in journal


def test_a_sudo_password_that_stays_wrong(host: LabHost) -> None:
    error = failure(host, "askpass", sudo_password=lambda _: "wrong")
    assert "refused the password 3 times" in error.message


def test_a_sudo_password_and_nobody_to_ask(host: LabHost) -> None:
    error = failure(host, "askpass")
    assert "wants a password, and there is no terminal" in error.message
    assert error.code == ExitCode.UNREACHABLE


def test_somebody_without_the_right_to_sudo(host: LabHost) -> None:
    host.run(["chpasswd"], input="nosudo:a-password\n")
    error = failure(host, "nosudo", sudo_password=lambda _: "a-password")
    assert f"nosudo may not use sudo on nosudo@{host.name}" in error.message
    assert "usermod -aG sudo nosudo" in error.hint


def test_no_sudo(host: LabHost) -> None:
    with missing(host, "/usr/bin/sudo"):
        assert "has no sudo, and operator is not root" in failure(host).message


@pytest.mark.parametrize(("user", "password"), [("operator", None), ("askpass", lambda _: SUDO_PASSWORD)])
def test_no_python(host: LabHost, user: str, password: Any) -> None:
    with missing(host, "/usr/bin/python3"):
        error = failure(host, user, sudo_password=password)
    assert error.message == f"{user}@{host.name} has no python3"
    assert error.hint == f"ssh -t {user}@{host.name} sudo apt-get install -y python3"


def test_a_python_without_its_library(host: LabHost) -> None:
    library = host.run(["python3", "-c", "import json; print(json.__path__[0])"]).stdout.strip()
    with missing(host, library):
        assert "is incomplete: it has no module 'json'" in failure(host).message


def test_what_a_shell_prints_by_itself_is_no_answer(host: LabHost) -> None:
    noise = "echo 'Welcome!'; printf 'no newline: {\"event\": \"done\"}'; echo 'on stderr' >&2\n"
    startup = host.path("/home/operator/.bashrc")
    before = startup.read_text()
    startup.write_text(noise + before)
    try:
        assert "Welcome!" in host.ssh(["true"]).stdout
        with reached(host) as connection:
            assert answer(connection, "echo", {"a": 1}) == {"a": 1}
    finally:
        startup.write_text(before)


def test_a_shell_that_lets_nobody_in(host: LabHost) -> None:
    host.run(["usermod", "-s", "/usr/sbin/nologin", "nosudo"])
    try:
        assert "This account is currently not available" in failure(host, "nosudo").message
    finally:
        host.run(["usermod", "-s", "/bin/bash", "nosudo"])


@pytest.fixture(scope="module")
def shells() -> Iterator[LabHost]:
    with LabHost(image=Image().including("tcsh", "fish", "zsh")) as lab_host:
        yield lab_host


@pytest.mark.parametrize("shell", ["dash", "tcsh", "fish", "zsh"])
def test_login_shells(shells: LabHost, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(shells.ssh_config))
    shells.run(["usermod", "-s", f"/usr/bin/{shell}", "operator"])
    with reached(shells) as connection:
        assert answer(connection, "where", {})["uid"] == 0
    shells.run(["usermod", "-s", f"/usr/bin/{shell}", "askpass"])
    with reached(shells, "askpass", sudo_password=lambda _: SUDO_PASSWORD) as connection:
        assert answer(connection, "where", {})["uid"] == 0


def test_through_a_gateway(host: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    jump = f"Host far\n    ProxyJump nosudo@{host.name}\n    HostName {host.address}\n    User operator\n"
    options = f"    IdentityFile {host.key}\n    UserKnownHostsFile {host.folder / 'known_hosts'}\n"
    config.write_text(f"{jump}{options}{host.ssh_config.read_text()}")
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    connection = SshHost("far", agent=FAKE_AGENT)
    assert answer(connection, "where", {})["uid"] == 0
    host.ssh(["pkill", "-u", "nosudo", "sshd"], user="nosudo", check=False)
    with pytest.raises(ProvisionError) as caught:  # the gateway is gone; it is opened again by the next request
        for _ in connection.request("steps", {"steps": 100, "seconds": 0.1}):
            host.run(["pkill", "-u", "nosudo", "sshd"], check=False)
    assert caught.value.code == ExitCode.UNREACHABLE
    connection.close()


def test_a_cable_that_is_pulled(host: LabHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "LOST_AFTER", 3)
    monkeypatch.setattr(pulse, "EVERY", 1)
    try:
        with reached(host) as connection:
            events = connection.request("steps", {"steps": 1, "seconds": 60})
            next(events)
            host.network.cut()
            began = time.monotonic()
            with pytest.raises(ProvisionError) as caught:
                list(events)
            assert time.monotonic() - began < 10
        error = caught.value
        assert error.message == f"the connection to operator@{host.name} was lost during “step 0”"
        assert error.hint == "run the same command again: it continues where it stopped"
        assert error.code == ExitCode.UNREACHABLE
    finally:
        host.network.restore()
        host.run(["pkill", "-f", "mlflow-provision"], check=False)


def test_a_host_that_falls_silent_behind_a_gateway(
    host: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "EVERY", 1)
    monkeypatch.setattr(pulse, "PATIENCE", 2)
    with LabHost() as gateway:
        config = tmp_path / "config"
        options = f"    IdentityFile {host.key}\n    UserKnownHostsFile {host.folder / 'known_hosts'}\n"
        far = f"Host far\n    ProxyJump {gateway.name}\n    HostName {host.address}\n    User operator\n{options}"
        config.write_text(far + gateway.ssh_config.read_text())
        monkeypatch.setenv(CONFIG_VARIABLE, str(config))
        connection = SshHost("far", agent=FAKE_AGENT)
        try:
            events = connection.request("steps", {"steps": 1, "seconds": 60})
            next(events)
            time.sleep(3)  # it lives, and is believed to
            host.network.cut()
            with pytest.raises(ProvisionError) as caught:
                list(events)
            assert "the connection to far was lost" in caught.value.message
        finally:
            connection.close()
            host.network.restore()
            host.run(["pkill", "-f", "mlflow-provision"], check=False)


def test_the_agent_stops_when_its_operator_is_gone(
    host: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DelayProxy((host.address, host.port)) as line:
        config = host.write_ssh_config(tmp_path, address=line.address, port=line.port)
        monkeypatch.setenv(CONFIG_VARIABLE, str(config))
        with reached(host) as connection:
            events = connection.request("steps", {"steps": 1000, "seconds": 0.1, "pid_file": "/run/agent.pid"})
            next(events)
            pid = host.run(["cat", "/run/agent.pid"]).stdout
            line.cut()
            with pytest.raises(ProvisionError):
                list(events)
    alive = ["kill", "-0", pid]
    until(lambda: host.run(alive, check=False).returncode, lambda: "the agent still runs", pause=0.05, within=5)


def test_a_far_host_costs_few_round_trips(host: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trip = 0.2
    with DelayProxy((host.address, host.port), trip / 2) as line:
        config = host.write_ssh_config(tmp_path, address=line.address, port=line.port)
        monkeypatch.setenv(CONFIG_VARIABLE, str(config))
        with reached(host) as connection:
            began = time.monotonic()
            connection.open()
            opened = time.monotonic() - began
            answer(connection, "echo", {})
            began = time.monotonic()
            answer(connection, "echo", {})
            request = time.monotonic() - began
    assert request < 3.9 * trip, f"{request / trip:.1f} round trips a request"
    assert opened < 9 * trip, f"{opened / trip:.1f} round trips to connect"
