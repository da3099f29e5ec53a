"""A server that starts and dies, hangs, or cannot have its port: why is said within seconds, and it can be mended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.bad_day import squatted
from tests.e2e.operator import Operator, on
from tests.lab import LabHost

NAME = "server"
UNIT = f"mlflow-{NAME}"
BASE = f"/opt/mlflow/{NAME}"
AUTH, TRACKING = f"{BASE}/data/basic_auth.db", f"{BASE}/data/mlflow.db"
SOON = 60  # seconds on a busy machine; on a quiet one it is 2 to 10, and the wait for a slow start ends only after 180

# Allowed, if unwise: whatever a shell, an ini file, a URL or a systemd unit could trip over.
PASSWORD = r"""$(touch /tmp/pwned)`id`%s%%d{}\n'" #;&|<>~!* ?=:@/+"""


@pytest.fixture(scope="module")
def host(stocked_host: LabHost) -> LabHost:
    return stocked_host


@pytest.fixture(scope="module")
def operator(host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """A server is set up, with a password that has everything in it."""
    operator = Operator(tmp_path_factory.mktemp("operator"), host.ssh_config)
    operator.variables = {"MLFLOW_PROVISION_ADMIN_PASSWORD": PASSWORD}
    operator.run("setup", on(host), "--yes")
    return operator


def test_any_password_that_is_allowed_works(host: LabHost, operator: Operator) -> None:
    """The setup has logged in with it already; here with the server's own tools out of the way."""
    login = host.run(
        ["curl", "-sS", "-K", "-", "http://localhost:5000/api/2.0/mlflow/users/current"],
        input='user = "admin:{}"'.format(PASSWORD.replace("\\", "\\\\").replace('"', '\\"')),
    )
    assert '"is_admin":true' in login.stdout.replace(" ", "")
    assert not host.path("/tmp/pwned").exists()
    assert PASSWORD not in "".join(operator.shown)


def test_the_kill_that_proves_the_restart_is_not_counted(operator: Operator) -> None:
    assert operator.json("status", NAME)["status"]["restarts"] == 0


@pytest.mark.parametrize("record", ["garbage", "[]", "{}", '{"name": "server", "mlflow_version": "3.17.2"}'])
def test_a_record_that_is_spoilt(host: LabHost, operator: Operator, record: str) -> None:
    """What was applied is not known any more; what is there still is."""
    host.path(f"{BASE}/deployment.json").write_text(record)
    assert operator.json("status", NAME)["status"]["healthy"] is True
    assert operator.changed("setup", NAME, "--yes") == ["record"]


def test_an_auth_database_that_is_none(host: LabHost, operator: Operator) -> None:
    with garbled(host, AUTH):
        said = operator.refused("setup", NAME, "--yes")
        assert f"{AUTH}: file is not a database" in said
        assert "Next: bring it back from a backup" in said
        said = dies(operator, "restart")
        assert "file is not a database" in said
        status = operator.json("status", NAME, code=1)["status"]
        assert "file is not a database" in status["problem"]
    # Mended while systemd tries again and again: what it has started meanwhile is not what we start.
    operator.run("start", NAME)
    assert operator.json("setup", NAME, "--yes")["changes"] == 0


def test_a_tracking_database_that_is_none(host: LabHost, operator: Operator) -> None:
    with garbled(host, TRACKING):
        said = operator.refused("setup", NAME, "--yes")
        assert f"{TRACKING}: file is not a database" in said
    assert operator.json("verify", NAME, "--no-kill")["ok"] is True


def test_a_tracking_database_of_a_newer_mlflow(host: LabHost, operator: Operator) -> None:
    """Found only by the server, when the setup starts it."""
    operator.run("stop", NAME)
    with revision(host, "ffffffffffff"):
        said = dies(operator, "setup", "--yes")
        assert "found version ffffffffffff" in said
        assert 'File "' not in said
        document = operator.json("setup", NAME, "--yes", code=1)
        assert document["steps"][-1]["verdict"] == "failed"
        assert "found version ffffffffffff" in document["error"]["message"]
        for _ in range(5):  # whether the next attempt runs or is waited for
            assert "found version ffffffffffff" in operator.json("status", NAME, code=1)["status"]["problem"]
            time.sleep(0.7)
    assert operator.json("setup", NAME, "--yes")["ok"] is True


def test_a_worker_that_is_silent_for_a_while_is_left_alone(host: LabHost, operator: Operator) -> None:
    """On a busy host an import can take longer than the five seconds that uvicorn would wait."""
    operator.run("setup", NAME, "--workers", "2", "--yes")
    workers = host.run(["pgrep", "-f", "releases.*spawn_main"]).stdout.split()
    assert len(workers) == 2
    host.run(["kill", "-STOP", workers[0]])
    time.sleep(12)
    host.run(["kill", "-CONT", workers[0]])
    time.sleep(3)
    assert host.run(["pgrep", "-f", "releases.*spawn_main"]).stdout.split() == workers
    operator.run("setup", NAME, "--workers", "1", "--yes")


def test_several_workers_that_cannot_import(host: LabHost, operator: Operator) -> None:
    """uvicorn replaces them for ever, and to systemd all is well."""
    module = f"{BASE}/venv/lib/python3.11/site-packages/mlflow/server/fastapi_app.py"
    broken = host.run(["cat", module]).stdout + "\nraise ImportError('broken on purpose')\n"
    host.run(["cp", "-a", module, "/root/module"])
    host.run(["sed", "-i", "s/MLFLOW_WORKERS=1/MLFLOW_WORKERS=2/", f"{BASE}/etc/server.env"])
    host.run(["tee", module], input=broken)
    said = dies(operator, "restart")
    assert "ImportError: broken on purpose" in said
    assert "broken on purpose" in operator.json("status", NAME, code=1)["status"]["problem"]
    host.run(["cp", "-a", "/root/module", module])
    assert operator.json("setup", NAME, "--yes")["ok"] is True


def test_a_port_that_somebody_took_meanwhile(host: LabHost, operator: Operator) -> None:
    operator.run("stop", NAME)
    with squatted(host, 5000):
        said = dies(operator, "start", hint="end that, or choose another port: mlflow-provision setup")
        assert "address already in use" in said and "port 5000 is held by python3" in said
        said = operator.refused("setup", NAME, "--yes")
        assert "port 5000 is used by python3" in said
        assert "--port 5001" in said
    operator.run("start", NAME)
    assert operator.json("setup", NAME, "--yes")["changes"] == 0


def test_a_server_that_hangs(host: LabHost, operator: Operator) -> None:
    host.run(["systemctl", "kill", "--signal=STOP", UNIT])
    assert operator.json("status", NAME, code=1)["status"]["running"] is True
    said = operator.refused("verify", NAME, "--no-kill")
    assert "is healthy" in said
    answer = operator.json("setup", NAME, "--yes")
    service = next(step for step in answer["steps"] if step["step"] == "service")
    assert service["summary"] == "restart (no answer: timed out)"


def dies(operator: Operator, *command: str, hint: str = f"read more: sudo journalctl -u {UNIT}.service -n 200") -> str:
    """The command starts the server, which dies; what is said about it, soon."""
    began = time.monotonic()
    said = operator.refused(command[0], NAME, *command[1:])
    seconds = time.monotonic() - began
    print(f"{command[0]}: the cause was told after {seconds:.1f} s")
    assert "the server started and died:\n" in said
    assert f"Next: {hint}" in said
    assert seconds < SOON
    return said


@contextmanager
def garbled(host: LabHost, database: str) -> Iterator[None]:
    """Within the block a database is noise."""
    host.run(["cp", "-a", database, "/root/database"])
    host.run(["dd", "if=/dev/urandom", f"of={database}", "bs=4096", "count=10", "conv=notrunc"])
    try:
        yield
    finally:
        host.run(["cp", "-a", "/root/database", database])


@contextmanager
def revision(host: LabHost, other: str) -> Iterator[None]:
    """Within the block the tracking database says that it has another schema."""
    program = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
        "print(db.execute('SELECT version_num FROM alembic_version').fetchone()[0]); "
        "db.execute('UPDATE alembic_version SET version_num = ?', (sys.argv[2],)); db.commit()"
    )

    def change(to: str) -> str:
        argv = ["runuser", "-u", UNIT, "--", "python3", "-c", program, TRACKING, to]
        return host.run(argv).stdout.strip()

    before = change(other)
    try:
        yield
    finally:
        change(before)
