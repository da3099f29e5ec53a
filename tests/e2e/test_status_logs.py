"""What `status` says is true, and said soon, whatever is broken; start and stop tell what happened."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.e2e.operator import Operator, on
from tests.e2e.prepared import Prepared
from tests.e2e.served import NAME, Served
from tests.e2e.waiting import until
from tests.lab import LabHost

OTHER = "dev"
OTHER_PORT = 5001
GONE = "gone"
BASE = f"/opt/mlflow/{NAME}"
NOTES = f"{BASE}/status.json"
DAY = 86400.0
PER_DAY = 30 * 10**9  # bytes
SOON = 25  # seconds on a busy machine; who waits for a host that is cut off waits for minutes
HTTPS_NAME = "ml.example.com"

# Keeps a request of the server open for as long as it lives: uvicorn waits for its end before it ends itself.
UPLOADER = """
import base64, socket, sys, time
port, login = sys.argv[1:]
connection = socket.create_connection(("127.0.0.1", int(port)))
token = base64.b64encode(login.encode()).decode()
head = (
    "PUT /api/2.0/mlflow-artifacts/artifacts/1/slow HTTP/1.1", f"Host: localhost:{port}",
    f"Authorization: Basic {token}", "Content-Length: 1000000", "", "x",
)
connection.sendall("\\r\\n".join(head).encode())
while True:
    time.sleep(0.2)
    connection.sendall(b"x")
"""

# Shows its certificate to those who ask for its name, and to nobody else.
HTTPS = """
import socket, ssl, sys
certificate, name = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
def judge(connection, asked, context):
    return None if asked == name else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
context.sni_callback = judge
listener = socket.create_server(("", 443))
while True:
    connection, _ = listener.accept()
    try:
        context.wrap_socket(connection, server_side=True).close()
    except OSError:
        pass
"""


@pytest.fixture(scope="module")
def served(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A host with two servers; its sshd notes every command that it is asked for."""
    with set_up.copy(tmp_path_factory.mktemp("home") / "operator") as served:
        served.host.path("/etc/ssh/sshd_config.d").mkdir(exist_ok=True)
        served.host.run(["sh", "-c", "echo LogLevel VERBOSE >> /etc/ssh/sshd_config && systemctl reload ssh"])
        served.operator.run("setup", on(served.host), "--name", OTHER, "--port", str(OTHER_PORT), "--yes")
        yield served


@pytest.fixture
def status(served: Served) -> Callable[..., dict[str, Any]]:
    """The status of the one that the tests leave running."""

    def look(code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = served.operator.json("status", NAME, code=code)["status"]
        return found

    return look


def test_two_on_one_host_and_one_that_is_not_there(served: Served) -> None:
    """One connection, and on it one command for both of them; who is not there hides nobody."""
    with unreachable(served.operator), sshd(served.host) as heard:
        document = served.operator.json("status", code=3)
    assert (heard.logins, heard.commands) == (1, 1)
    seen = named(document)
    assert [seen[name]["healthy"] for name in (NAME, OTHER)] == [True, True]
    assert seen[NAME]["pid"] != seen[OTHER]["pid"] and seen[OTHER]["port"] == OTHER_PORT
    assert seen[GONE]["reachable"] is False and seen[GONE]["error"]["code"] == 3
    for name in (NAME, OTHER):
        assert any("backup" in warning for warning in seen[name]["warnings"])  # there are none
        assert seen[name]["runs"] == 0 and seen[name]["experiments"] == 1 and seen[name]["unknown"] == {}
        assert seen[name]["memory"] > 100e6 and seen[name]["database_size"] > 100e3

    with unreachable(served.operator):
        shown = served.operator.run("status", code=3).stdout
    for name in (NAME, OTHER, GONE):
        assert any(line.startswith(f"{name} ") for line in shown.splitlines())


def test_watched_again_and_again(served: Served) -> None:
    """By one command, which is given anew when the connection breaks; a host that is away for a look is no end."""
    with sshd(served.host) as heard:
        process = served.operator.start("status", NAME, "--watch", "--interval", "0.5", "--json")
        assert process.stdout
        looks = [look_of(process.stdout.readline()) for _ in range(3)]
        served.end_ssh_sessions()
        looks += [look_of(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert [look["healthy"] for look in looks[:3]] == [True] * 3 and looks[-1]["healthy"] is True
    assert (heard.logins, heard.commands) == (2, 2)


def test_one_that_dies_again_and_again(served: Served) -> None:
    """What it said last is told; once it is healthy again, that it crashed."""
    with drop_in(served.host, "crash", "ExecStart=", "ExecStart=/bin/sh -c 'echo Out of luck; exit 3'"):
        assert "Out of luck" in served.operator.refused("restart", OTHER)
        served.host.run(["sh", "-c", f"until [ $({restarts_of(OTHER)}) -ge 2 ]; do sleep 0.1; done"], timeout=60)
        with unreachable(served.operator):
            dead = named(served.operator.json("status", code=1))
        assert dead[OTHER]["healthy"] is False and dead[NAME]["healthy"] is True
        assert "Out of luck" in dead[OTHER]["problem"] and "Out of luck" not in dead[NAME]["problem"]
    again = until(lambda: healthy(served.operator), pause=0.5)
    assert again["restarts"] >= 2
    assert any(f"logs {OTHER} --errors" in warning for warning in again["warnings"])


def healthy(operator: Operator) -> dict[str, Any]:
    """What `status` says of the other server, once it is well."""
    found: dict[str, Any] = operator.json("status", OTHER, code=None)["status"]
    return found if found["healthy"] else {}


def test_started_and_stopped(served: Served) -> None:
    """Each tells what was there before; nobody counts crashes of before it was started by hand."""
    stopped = served.operator.json("stop", OTHER)["status"]
    assert stopped["before"]["running"] is True and (stopped["running"], stopped["killed"]) == (False, False)
    with unreachable(served.operator):
        assert named(served.operator.json("status", code=1))[OTHER]["running"] is False
    assert served.operator.json("stop", OTHER)["status"]["before"]["running"] is False
    started = served.operator.json("start", OTHER)["status"]
    assert (started["running"], started["healthy"], started["restarts"]) == (True, True, 0)
    assert started["before"]["running"] is False and started["took"] > 0
    again = served.operator.json("start", OTHER)["status"]
    assert again["pid"] == started["pid"] == again["before"]["pid"]


def test_one_that_does_not_want_to_end(served: Served) -> None:
    """It waits for an upload that takes for ever; so it is killed, and that is said."""
    served.host.path("/root/uploader.py").write_text(UPLOADER)
    environment = served.operator.json("env", OTHER)["environment"]
    login = f"admin:{environment['MLFLOW_TRACKING_PASSWORD']}"
    uploader = background(served.host, "uploader", "python3", "/root/uploader.py", str(OTHER_PORT), login)
    begun = f"until find /opt/mlflow/{OTHER}/data/artifacts -type f | grep -q .; do sleep 0.05; done"
    with drop_in(served.host, "patience", "TimeoutStopSec=2"), uploader:
        served.host.run(["sh", "-c", begun], timeout=30)
        stopped = served.operator.json("stop", OTHER)["status"]
    assert (stopped["running"], stopped["killed"]) == (False, True)
    assert stopped["took"] >= 2
    assert served.host.run(["pgrep", "-u", f"mlflow-{OTHER}"], check=False).stdout == ""


def test_the_newest_version_is_never_waited_for(served: Served, status: Callable[..., dict[str, Any]]) -> None:
    """It is asked for once a day, and what was known is known; a host without a way out is told about all the same."""
    served.host.path(NOTES).unlink(missing_ok=True)
    newest = status()["newest_version"]
    assert newest and newest.count(".") >= 2
    served.host.network.block_internet("DROP")
    try:
        began = time.monotonic()
        assert status()["newest_version"] == newest
        served.host.path(NOTES).unlink()
        found = status()
        assert time.monotonic() - began < SOON
    finally:
        served.host.network.allow_internet()
    assert found["newest_version"] is None and found["healthy"] is True and found["runs"] == 0
    assert status()["newest_version"] is None  # who has just not answered is not asked again at once
    served.host.path(NOTES).unlink()


def test_how_long_the_disk_lasts(served: Served, status: Callable[..., dict[str, Any]]) -> None:
    disk = status()["disks"][0]
    assert (disk["per_day"], disk["days_left"]) == (None, None)
    known = json.loads(served.host.path(NOTES).read_text())
    known["samples"] = [shrinking(disk)]
    served.host.path(NOTES).write_text(json.dumps(known))
    found = status()
    disk = found["disks"][0]
    assert disk["per_day"] == pytest.approx(PER_DAY, rel=0.3)  # what else happens on this machine's disk counts too
    assert disk["days_left"] == pytest.approx(disk["free"] / disk["per_day"], abs=0.06)  # told to a tenth of a day
    assert any(disk["mount"] in warning for warning in found["warnings"]) is (disk["days_left"] < 14)
    served.host.path(NOTES).unlink()


def test_the_schedule_of_backups_notes_the_room_too(served: Served, status: Callable[..., dict[str, Any]]) -> None:
    """So that it is known of a host that nobody looks at."""
    usage = f"{BASE}/backup/state/usage.json"
    served.operator.run("backup", "schedule", NAME, "--every", "daily", "--to", "/var/backups/room", "--yes")
    served.host.run(["systemctl", "start", f"mlflow-{NAME}-backup.service"])
    found = status()
    disk = found["disks"][0]
    assert found["backup"]["made"]["at"] == pytest.approx(time.time(), abs=300)
    assert not any("backup" in warning for warning in found["warnings"])
    samples = json.loads(served.host.path(usage).read_text())
    assert samples[-1]["free"][disk["mount"]] == pytest.approx(disk["free"], rel=0.5)
    assert disk["per_day"] is None
    served.host.path(usage).write_text(json.dumps([shrinking(disk)]))
    assert status()["disks"][0]["per_day"] == pytest.approx(PER_DAY, rel=0.3)
    served.host.path(usage).unlink()


def test_what_is_not_applied_and_what_somebody_changed(served: Served, status: Callable[..., dict[str, Any]]) -> None:
    before = status()
    assert (before["pending"], before["changed_on_host"]) == ([], [])
    environment = f"{BASE}/etc/server.env"
    served.operator.edit(NAME, "port = 5000", "port = 5005")
    served.host.run(["sh", "-c", f"echo '# mine' >> {environment}"])
    found = status()
    assert found["healthy"] is True and found["port"] == 5000  # where it is now, whatever the file says
    assert any("5005" in change for change in found["pending"])
    assert found["changed_on_host"] == [environment]
    assert sum(f"plan {NAME}" in warning for warning in found["warnings"]) == 2
    served.operator.run("setup", NAME, "--yes")
    found = status()
    assert (found["healthy"], found["port"], found["pending"], found["changed_on_host"]) == (True, 5005, [], [])
    assert not any(f"plan {NAME}" in warning for warning in found["warnings"])


def test_when_the_certificate_ends(served: Served, status: Callable[..., dict[str, Any]]) -> None:
    served.operator.edit(NAME, "[mlflow]\n", f'[mlflow]\nallowed_hosts = ["{HTTPS_NAME}"]\n')
    assert status()["certificate"] is None
    served.host.path("/root/https.py").write_text(HTTPS)
    for days, warned in ((10, True), (60, False)):
        ends = datetime.now(timezone.utc) + timedelta(days=days)
        served.host.path("/root/https.pem").write_bytes(certificate(HTTPS_NAME, ends))
        with background(served.host, "https", "python3", "/root/https.py", "/root/https.pem", HTTPS_NAME):
            served.host.run(
                ["sh", "-c", "until ss -Hltn sport = 443 | grep -q LISTEN; do sleep 0.05; done"], timeout=20
            )
            found = status()
        assert found["certificate"]["name"] == HTTPS_NAME
        assert found["certificate"]["ends"] == pytest.approx(ends.timestamp(), abs=2)
        assert any(HTTPS_NAME in warning for warning in found["warnings"]) is warned


def named(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in document["deployments"]}


def look_of(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)["deployments"][0]
    return found


def restarts_of(name: str) -> str:
    return f"systemctl show mlflow-{name} --property=NRestarts --value"


def shrinking(disk: dict[str, Any]) -> dict[str, Any]:
    """A sample of three days ago, when there was more room."""
    return {"at": time.time() - 3 * DAY, "free": {disk["mount"]: disk["free"] + 3 * PER_DAY}}


@contextmanager
def unreachable(operator: Operator) -> Iterator[None]:
    """Within the block there is a deployment on a host that nobody knows."""
    text = operator.toml(OTHER).read_text()
    host = next(line for line in text.splitlines() if line.startswith("host = "))
    text = text.replace(f'name = "{OTHER}"', f'name = "{GONE}"').replace(host, 'host = "operator@gone.invalid"')
    operator.toml(GONE).write_text(text)
    try:
        yield
    finally:
        operator.toml(GONE).unlink()


@dataclass
class Heard:
    """What sshd noted."""

    lines: list[str] = field(default_factory=list)

    @property
    def logins(self) -> int:
        return sum("Accepted publickey" in line for line in self.lines)

    @property
    def commands(self) -> int:
        return sum("Starting session: command" in line for line in self.lines)


@contextmanager
def sshd(host: LabHost) -> Iterator[Heard]:
    """What is asked of it within the block."""
    heard = Heard()
    shown = host.run(["journalctl", "--lines=1", "--show-cursor", "--quiet", "--no-pager"]).stdout
    cursor = shown.rpartition("-- cursor: ")[2].strip()
    yield heard
    host.run(["journalctl", "--sync"])
    argv = ["journalctl", f"--after-cursor={cursor}", "--no-pager", "--output=cat", "_COMM=sshd"]
    heard.lines = host.run(argv).stdout.splitlines()


@contextmanager
def drop_in(host: LabHost, name: str, *lines: str) -> Iterator[None]:
    """Other settings for the service of the other server, within the block."""
    folder = host.path(f"/etc/systemd/system/mlflow-{OTHER}.service.d")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.conf").write_text("\n".join(["[Service]", *lines, ""]))
    host.run(["systemctl", "daemon-reload"])
    try:
        yield
    finally:
        (folder / f"{name}.conf").unlink()
        host.run(["systemctl", "daemon-reload"])


@contextmanager
def background(host: LabHost, unit: str, *argv: str) -> Iterator[None]:
    """A program of somebody else runs on the host within the block."""
    host.run(["systemd-run", "--quiet", "--collect", f"--unit={unit}", *argv])
    try:
        yield
    finally:
        host.run(["systemctl", "stop", unit], check=False)


def certificate(name: str, ends: datetime) -> bytes:
    """A certificate that was signed by nobody else, with its key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=90))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return secret + signed.public_bytes(encoding)
