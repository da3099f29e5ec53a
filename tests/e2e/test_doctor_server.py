"""A server that is stopped, misplaced, open, stuck, starved or without its Python: doctor says which, and mends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.e2e.bad_day import squatted
from tests.e2e.doctored import Examination, examine, finds
from tests.e2e.prepared import Prepared
from tests.e2e.served import NAME, UNIT, Served
from tests.lab import LabHost

BASE = f"/opt/mlflow/{NAME}"
SETTINGS, START = f"{BASE}/etc/server.env", f"{BASE}/start_mlflow_server.sh"
UNIT_FILE = f"/etc/systemd/system/{UNIT}.service"
API = "http://127.0.0.1:5000/api/2.0/mlflow"
GUESSED = "password1234"  # what MLflow's administrator had for years
WEAK = "P@ssw0rd2026"  # MLflow takes it
SPARE = 30 << 20  # bytes of memory that a starved process may still take


@pytest.fixture(scope="module")
def patient(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A healthy server; but for the last test of this file each leaves it as it was."""
    with set_up.copy(tmp_path_factory.mktemp("patient") / "home") as served:
        yield served


def mended(patient: Served, *checks: str) -> Examination:
    """`doctor --fix` puts these right, and with them everything."""
    found = examine(patient.operator, "--fix", "--yes", code=0)
    before = {finding["check"] for finding in found.document["findings_before"] if finding["verdict"] == "bad"}
    assert before >= set(checks)
    assert found.warned <= {"backup-age", "service-looping"}  # it did die, before
    return found


def edit(host: LabHost, path: str, old: str, new: str) -> None:
    """Change a file of the host the way a person does; its owner and mode stay."""
    text = host.path(path).read_text()
    assert old in text, text
    host.path(path).write_text(text.replace(old, new))


def restart(host: LabHost) -> None:
    """Behind everybody's back, until it answers."""
    host.run(["systemctl", "restart", UNIT])
    host.run(
        ["sh", "-c", "until curl -sf -m 5 -o /dev/null http://127.0.0.1:5000/health; do sleep 0.2; done"], timeout=180
    )


def called(patient: Served, method: str, path: str, body: dict[str, str], password: str = "") -> str:
    """The HTTP status that the server answers with to its administrator, asked on its host."""
    argv = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, "-K", "-", f"{API}/{path}"]
    login = f'user = "admin:{password or patient.password}"\nheader = "Content-Type: application/json"\n'
    data = json.dumps(body).replace('"', '\\"')
    return patient.host.run(argv, input=f'{login}data = "{data}"\n').stdout


# The service


@finds("service-running", "port-taken")
def test_a_server_that_was_stopped_and_lost_its_port(patient: Served) -> None:
    patient.host.run(["systemctl", "stop", UNIT])
    with squatted(patient.host, 5000):
        found = examine(patient.operator)
        assert found.bad == {"service-running", "port-taken"}  # what builds on them is not told a second time
        assert found.verdict("health") == found.verdict("login") == found.verdict("forwarding") == "skipped"
        assert "squatter.service" in found.of("port-taken")["evidence"]
    assert examine(patient.operator).bad == {"service-running"}
    mended(patient, "service-running")


@finds("service-installed")
def test_a_unit_that_is_gone(patient: Served) -> None:
    patient.host.run(["systemctl", "disable", UNIT])
    assert "does not start at boot" in examine(patient.operator).of("service-installed")["evidence"]
    patient.host.path(UNIT_FILE).unlink()
    patient.host.run(["systemctl", "daemon-reload"])
    found = examine(patient.operator)
    assert "service-installed" in found.bad and UNIT_FILE in found.of("service-installed")["evidence"]
    mended(patient, "service-installed")
    assert patient.host.run(["systemctl", "is-enabled", UNIT]).stdout.strip() == "enabled"


@finds("service-installed")
def test_a_unit_that_somebody_added_to(patient: Served) -> None:
    """It works, so it is only worth a look; what somebody wanted to have is not taken away."""
    patient.host.run(["systemctl", "set-property", "--runtime", UNIT, "TasksMax=2000"])
    try:
        found = examine(patient.operator, code=0)
    finally:
        patient.host.run(["systemctl", "revert", UNIT])
    told = found.of("service-installed")
    assert told["verdict"] == "warn" and told["fix"] == ""
    assert "50-TasksMax.conf" in told["evidence"] and "systemctl revert" in told["remedy"]


# Who may enter


@finds("login", "origin-check", "port-open", "host-check", "drift")
def test_settings_that_let_in_the_wrong_ones(patient: Served) -> None:
    """No login, and pages of another site; then names of another site, and another address."""
    edit(patient.host, START, " --app-name basic-auth", "")
    edit(patient.host, SETTINGS, "MLFLOW_PORT", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS='*'\nMLFLOW_PORT")
    restart(patient.host)
    found = examine(patient.operator)
    assert found.bad == {"login", "origin-check", "drift"}
    assert "without its login" in found.of("login")["cause"]
    assert "any web page" in found.of("origin-check")["evidence"]

    edit(patient.host, SETTINGS, "MLFLOW_SERVER_ALLOWED_HOSTS=", "MLFLOW_SERVER_ALLOWED_HOSTS=other.example #")
    edit(patient.host, SETTINGS, "MLFLOW_HOST=127.0.0.1", "MLFLOW_HOST=0.0.0.0")
    restart(patient.host)
    found = examine(patient.operator)
    assert found.bad >= {"port-open", "host-check", "drift"}
    assert "0.0.0.0:5000" in found.of("port-open")["evidence"]
    mended(patient, "port-open", "host-check", "drift")


@finds("default-password", "weak-password", "login")
def test_passwords(patient: Served) -> None:
    """One that everybody knows on the server, and on this side one that is wrong, and no good."""
    assert called(patient, "POST", "users/create", {"username": "careless", "password": GUESSED}) == "200"
    stranger = replace(patient.operator, variables={"MLFLOW_PROVISION_ADMIN_PASSWORD": WEAK})
    try:
        found = examine(stranger)
    finally:
        assert called(patient, "DELETE", "users/delete", {"username": "careless"}) == "200"
    assert found.bad == {"default-password", "weak-password", "login"}
    assert "careless" in found.of("default-password")["evidence"]
    assert "changed on the server" in found.of("login")["evidence"]


# Its process


@finds("health")
def test_a_server_that_hangs(patient: Served) -> None:
    patient.host.run(["systemctl", "kill", "--signal=STOP", UNIT])
    try:
        found = examine(patient.operator)
    finally:
        patient.host.run(["systemctl", "kill", "--signal=CONT", UNIT])
    assert "health" in found.bad and found.bad <= {"health", "drift"}
    assert found.verdict("service-running") == "ok" and found.verdict("login") == "skipped"


@finds("venv-broken", "service-looping")
def test_a_python_that_an_upgrade_took_away(patient: Served) -> None:
    """First a package, which the running server does not miss yet; then Python itself, and it dies again and again."""
    host = patient.host
    release = host.run(["readlink", "-f", f"{BASE}/venv"]).stdout.strip()
    package = f"{release}/lib/python3.11/site-packages/yaml"
    host.run(["rm", "-r", package])
    found = examine(patient.operator)
    assert found.bad == {"venv-broken"} and "yaml" in found.of("venv-broken")["evidence"]

    host.run(["rm", f"{release}/bin/python"])
    host.run(["systemctl", "kill", "--signal=KILL", UNIT])
    host.run(
        ["sh", "-c", f"until [ $(systemctl show {UNIT} -p NRestarts --value) -ge 4 ]; do sleep 0.2; done"], timeout=60
    )
    found = examine(patient.operator)
    assert found.bad >= {"venv-broken", "service-looping"}
    assert not found.bad & {"health", "login", "artifact-roundtrip"}

    with without_index(host):  # what is broken is better than nothing
        found = examine(patient.operator, "--fix", "--yes", code=1)
    assert "venv-broken" in found.bad
    assert host.path(f"{release}/release.json").exists() and host.path(f"{release}/lib").exists()

    mended(patient, "venv-broken", "service-looping")
    assert host.path(f"{package}/__init__.py").exists()
    assert patient.operator.json("verify", NAME, "--no-kill")["ok"] is True


@finds("memory-killed", "server-errors")
def test_a_server_without_memory(patient: Served) -> None:
    """It may not take more than it has, and somebody sends it more than that. The last test: its log keeps that."""
    starve(patient.host)
    argv = "head -c 150000000 /dev/zero | curl -sS -m 60 -o /dev/null --data-binary @- {}/experiments/create"
    patient.host.run(["sh", "-c", argv.format(API)], check=False)
    try:
        found = examine(patient.operator)
    finally:
        patient.host.run(["systemctl", "kill", "--signal=KILL", UNIT])
    assert found.bad >= {"memory-killed", "server-errors"}
    assert "MemoryError" in found.of("server-errors")["evidence"]
    assert found.of("server-errors")["cause"] == "Memory has run out."


def starve(host: LabHost) -> None:
    """Its processes may hardly take more memory than they have."""
    group = host.run(["systemctl", "show", UNIT, "--property=ControlGroup", "--value"]).stdout.strip()
    pids = host.run(
        ["sh", "-c", f"cat /sys/fs/cgroup/systemd{group}/cgroup.procs || cat /sys/fs/cgroup{group}/cgroup.procs"]
    )
    for pid in pids.stdout.split():
        status = host.run(["cat", f"/proc/{pid}/status"]).stdout
        size = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize"))
        host.run(["prlimit", f"--pid={pid}", f"--as={size + SPARE}"], user=UNIT)


@contextmanager
def without_index(host: LabHost) -> Iterator[None]:
    host.network.block_internet("REJECT")
    try:
        yield
    finally:
        host.network.allow_internet()
