"""Doctor on a healthy host, where it finds nothing, and on the way to one: it says which hop is broken."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.doctor.catalog import CATALOG
from mlflow_provision.host.hops import HOPS
from tests.e2e.bad_day import replaced
from tests.e2e.buckets import keys_in_environment, keys_of_backups
from tests.e2e.doctored import Examination, examine, finds
from tests.e2e.operator import Operator
from tests.e2e.prepared import Prepared
from tests.e2e.served import NAME, Served
from tests.lab import LabHost, RcloneS3
from tests.lab.program import run

SSHD = ["ssh.service"]


@pytest.fixture(scope="module")
def patient(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A healthy server; each test of this file leaves it as it was."""
    with set_up.copy(tmp_path_factory.mktemp("patient") / "home") as served:
        yield served


@pytest.fixture
def configured(patient: Served, tmp_path: Path) -> Operator:
    """Its operator, with a configuration of ssh that a test may spoil."""
    config = patient.host.write_ssh_config(tmp_path)
    return replace(patient.operator, ssh_config=config)


def said_in(operator: Operator, old: str, new: str) -> None:
    """Change the operator's configuration of ssh."""
    assert operator.ssh_config
    text = operator.ssh_config.read_text()
    assert old in text, text
    operator.ssh_config.write_text(text.replace(old, new))


def broken_at(operator: Operator, hop: str) -> Examination:
    """Doctor says that this hop is broken, that those before it are fine, and that it tried no further."""
    found = examine(operator, code=1)
    assert found.bad == {hop}
    here = HOPS.index(hop)
    assert {found.verdict(before) for before in HOPS[:here]} <= {"ok"}
    assert {found.verdict(after) for after in HOPS[here + 1 :]} <= {"skipped"}
    assert "health" not in {finding["check"] for finding in found.findings}
    return found


# Nothing is wrong


def test_a_healthy_host(patient: Served) -> None:
    """Everything was looked at; that there are no backups is worth a look, and no fault."""
    before = patient.host.now()
    found = examine(patient.operator, code=0)
    assert found.bad == set() and found.warned == {"backup-age"}
    verdicts = {finding["check"]: finding["verdict"] for finding in found.findings}
    assert "unknown" not in verdicts.values()
    assert set(CATALOG) - set(verdicts) == {"reach"}  # it listens for nobody but its own host
    assert set(HOPS) <= {check for check, verdict in verdicts.items() if verdict == "ok"}
    written = [path for path in patient.host.changed_files(before) if "/mlflow.db" not in path]
    assert [path for path in written if not path.startswith(("/var/lib", "/home"))] == []


def test_a_healthy_host_with_a_bucket_and_backups(set_up: Prepared, rclone_s3: RcloneS3, tmp_path: Path) -> None:
    """Not even anything that is worth a look."""
    rclone_s3.create_bucket("healthy")
    with set_up.copy(tmp_path / "home") as served:
        operator = served.operator
        keys_in_environment(operator, rclone_s3.keys)
        keys_of_backups(operator, rclone_s3.keys)
        place = ("--endpoint-url", rclone_s3.endpoint, "--aws-keys", "--region", "us-east-1")
        operator.run("setup", NAME, "--yes", "--artifacts", "s3://healthy/artifacts", "--artifacts-moved", *place)
        operator.run("backup", "schedule", NAME, "--every", "daily", "--to", "s3://healthy/backups", *place, "--yes")
        operator.run("backup", NAME)
        found = examine(operator, code=0)
        assert found.bad | found.warned == set()
        for check in ("store", "clock", "credentials-partial", "profile-mismatch", "artifact-roundtrip"):
            assert found.verdict(check) == "ok"
        for check in ("backup-age", "backup-verified", "backup-failed", "backup-timer", "backup-store"):
            assert found.verdict(check) == "ok"


# The way there


@finds("name")
def test_a_name_that_nobody_knows(patient: Served, configured: Operator) -> None:
    said_in(configured, patient.host.address, "no-such-host.invalid")
    assert "no-such-host.invalid" in broken_at(configured, "name").of("name")["evidence"]


@finds("network")
def test_a_network_that_swallows_everything(patient: Served, configured: Operator) -> None:
    said_in(configured, "    Port 22\n", "    Port 22\n    ConnectTimeout 2\n")
    patient.host.network.cut()
    try:
        found = broken_at(configured, "network")
    finally:
        patient.host.network.restore()
    assert "no answer within 2 s" in found.of("network")["evidence"]


@finds("network")
def test_no_sshd(patient: Served, configured: Operator) -> None:
    with without_sshd(patient.host):
        assert "refused" in broken_at(configured, "network").of("network")["evidence"]


@finds("sshd")
def test_something_else_on_the_port_of_sshd(patient: Served, configured: Operator) -> None:
    with without_sshd(patient.host), web_server(patient.host, 22):
        broken_at(configured, "sshd")


@finds("host-key")
def test_another_host_key(patient: Served, configured: Operator, tmp_path: Path) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")])
    known = tmp_path / "known_hosts"
    known.write_text(f"{patient.host.address} {(tmp_path / 'other.pub').read_text()}")
    changed = broken_at(configured, "host-key").of("host-key")
    assert "HAS CHANGED" in changed["evidence"] and "made anew" in changed["cause"]
    known.write_text("")
    unknown = broken_at(configured, "host-key").of("host-key")
    assert unknown["cause"] != changed["cause"] and "--accept-new-host-key" in unknown["remedy"]


@finds("ssh-login")
def test_a_key_that_the_host_does_not_know(patient: Served, configured: Operator, tmp_path: Path) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "mine")])
    said_in(configured, str(patient.host.key), str(tmp_path / "mine"))
    broken_at(configured, "ssh-login")


@finds("sudo")
def test_no_right_to_become_root(patient: Served, configured: Operator) -> None:
    with replaced(patient.host, "/etc/sudoers.d/lab", ""):
        patient.host.path("/etc/sudoers.d/lab").chmod(0o440)
        broken_at(configured, "sudo")


@finds("python")
def test_no_python(patient: Served, configured: Operator) -> None:
    patient.host.run(["mv", "/usr/bin/python3", "/usr/bin/python3.away"])
    try:
        broken_at(configured, "python")
    finally:
        patient.host.run(["mv", "/usr/bin/python3.away", "/usr/bin/python3"])


# From here to the server's port


@finds("forwarding")
def test_an_sshd_that_forwards_nothing(patient: Served) -> None:
    with replaced(patient.host, "/etc/ssh/sshd_config.d/a-no.conf", "AllowTcpForwarding no\n"):
        patient.host.run(["systemctl", "reload", *SSHD])
        found = examine(patient.operator, code=1)
    patient.host.run(["systemctl", "reload", *SSHD])
    assert found.bad == {"forwarding"}
    assert "AllowTcpForwarding" in found.of("forwarding")["remedy"]


@finds("tunnel")
def test_a_tunnel_that_hangs(patient: Served) -> None:
    """Its ssh has stopped to move a byte, and nobody has noticed yet."""
    tunnel = patient.opened()
    assert examine(patient.operator, code=0).verdict("tunnel") == "ok"
    with frozen(tunnel):
        found = examine(patient.operator, code=1)
    patient.as_it_was()
    assert found.bad == {"tunnel"}


@contextmanager
def without_sshd(host: LabHost) -> Iterator[None]:
    host.run(["systemctl", "stop", *SSHD])
    try:
        yield
    finally:
        host.run(["systemctl", "start", *SSHD])


@contextmanager
def web_server(host: LabHost, port: int) -> Iterator[None]:
    """Something answers at a port that speaks another protocol."""
    host.run(["systemd-run", "--quiet", "--unit=web-server", "python3", "-m", "http.server", str(port)])
    try:
        host.run(["sh", "-c", f"until ss -Hltn sport = {port} | grep -q LISTEN; do sleep 0.05; done"], timeout=20)
        yield
    finally:
        host.run(["systemctl", "stop", "web-server"])


@contextmanager
def frozen(tunnel: dict[str, Any]) -> Iterator[None]:
    """The ssh of a tunnel does nothing within the block."""
    ssh = int(run(["pgrep", "-P", str(tunnel["pid"])]).stdout)
    os.kill(ssh, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(ssh, signal.SIGCONT)
