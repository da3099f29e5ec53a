"""The checks that ask the server, systemd and the log, each made to find what it is about."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.doctor.checks import access
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.http import NoAnswer
from tests.agent.doctor_ward import Ward
from tests.agent.fake_mlflow import PASSWORD, FakeMlflow, serve
from tests.agent.fake_programs import FakePrograms

HOUR = 3600.0


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


@pytest.fixture
def fake(ward: Ward) -> Iterator[FakeMlflow]:
    with serve(FakeMlflow()) as server:
        data = server.data()
        ward.data["verify"] = {**ward.data["verify"], **data}
        ward.data["service"]["url"] = data["url"]
        yield server


def assert_finding(ward: Ward, check: str, verdict: str, *words: str) -> dict[str, Any]:
    found = ward.alone(check)
    assert found["verdict"] == verdict, found
    for word in words:
        assert word in found["evidence"], found
    assert PASSWORD not in repr(found)
    return found


# The server's answers


def test_a_server_that_is_well(ward: Ward, fake: FakeMlflow) -> None:
    for check in ("health", "host-check", "origin-check", "login", "artifact-roundtrip"):
        assert_finding(ward, check, "ok")
    assert fake.files == {}
    assert fake.experiments == {}
    assert fake.runs == {}


def test_a_server_that_is_not_healthy(ward: Ward, fake: FakeMlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.healthy = False
    monkeypatch.setattr(access, "_FIRST_START", 0.0)
    ward.log("OperationalError: unable to open database file")
    assert_finding(ward, "health", "bad", "/health answers 500", "unable to open database file")


def test_a_server_that_has_just_been_started_gets_time(
    ward: Ward, fake: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.healthy = False
    asked = []

    def status(self: object) -> dict[str, Any]:
        asked.append(1)
        fake.healthy = len(asked) > 1
        return {"running": True, "seconds": 5.0}

    monkeypatch.setattr("mlflow_provision.agent.resources.background_process.BackgroundProcess.status", status)
    assert_finding(ward, "health", "ok")


def test_a_name_that_the_server_does_not_know(ward: Ward, fake: FakeMlflow) -> None:
    ward.data["verify"]["hosts"] = ["unheard-of.example.com"]
    assert_finding(ward, "host-check", "bad", "the name unheard-of.example.com to be accepted")


def test_a_server_that_answers_to_any_name(ward: Ward, fake: FakeMlflow) -> None:
    fake.host_check = False
    assert_finding(ward, "host-check", "bad", "the server answers to any name")


def test_a_server_that_refuses_its_own_address(ward: Ward, fake: FakeMlflow) -> None:
    fake.faults["/users/current"] = lambda: (403, b"Invalid Host header - possible DNS rebinding attack detected")
    assert_finding(ward, "login", "skipped", "refuses even the server's own address")
    assert_finding(ward, "origin-check", "skipped", "refuses even the server's own address")


def test_a_web_page_that_may_not_write(ward: Ward, fake: FakeMlflow) -> None:
    fake.origins = ()
    assert_finding(ward, "origin-check", "bad", "https://mlflow.example.com")


def test_every_web_page_may_write(ward: Ward, fake: FakeMlflow) -> None:
    fake.origin_check = False
    assert_finding(ward, "origin-check", "bad", "any web page that a user visits")


def test_a_server_without_basic_auth(ward: Ward, fake: FakeMlflow) -> None:
    fake.basic_auth = False
    found = assert_finding(ward, "login", "bad", "everybody can read everything")
    assert "without its login" in found["data"]["cause"] and found["data"]["fix"] == "apply"
    assert_finding(ward, "origin-check", "ok")  # what lets everybody in does not refuse its own web page


def test_a_server_that_answers_no_more_is_not_said_to_have_another_password(
    ward: Ward, fake: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(*_: object) -> str:
        raise NoAnswer("timeout", "no answer within 10 s")

    monkeypatch.setattr("mlflow_provision.agent.verify.access.anonymous", stuck)
    assert "stuck" in assert_finding(ward, "login", "bad", "no answer within 10 s")["data"]["cause"]


def test_a_password_that_was_changed_on_the_server(ward: Ward, fake: FakeMlflow) -> None:
    ward.data["verify"]["password"] = "another one"
    assert_finding(ward, "login", "bad", "(401)", "was changed on the server")


def test_a_server_with_another_database_of_users(ward: Ward, fake: FakeMlflow) -> None:
    from tests.agent.doctor_ward import password_hash

    ward.data["verify"]["password"] = "something new"
    ward.sql("basic_auth.db", "UPDATE users SET password_hash = ? WHERE is_admin", password_hash("something new"))
    assert_finding(ward, "login", "bad", "the server uses another one")
    ward.sql("basic_auth.db", "DELETE FROM users WHERE is_admin")
    assert_finding(ward, "login", "bad", "has no such user")


def test_an_unknown_password_is_no_fault(ward: Ward, fake: FakeMlflow) -> None:
    ward.data["verify"]["password"] = ""
    assert_finding(ward, "login", "skipped", "is not known")
    assert_finding(ward, "artifact-roundtrip", "skipped", "is not known")
    fake.basic_auth = False
    assert_finding(ward, "login", "bad", "everybody can read everything")


def test_an_upload_that_fails(ward: Ward, fake: FakeMlflow) -> None:
    fake.faults["PUT"] = lambda: (500, b"Internal Server Error")
    assert_finding(ward, "artifact-roundtrip", "bad", "200 for an upload, got 500")


def test_a_download_that_differs(ward: Ward, fake: FakeMlflow) -> None:
    fake.read_back = lambda body: body[:-1] + b"?"
    assert_finding(ward, "artifact-roundtrip", "bad", "differs from what was uploaded")
    assert fake.files == {}


def test_a_file_that_cannot_be_deleted_again(ward: Ward, fake: FakeMlflow) -> None:
    fake.faults["DELETE"] = lambda: (200, b"{}")
    assert_finding(ward, "artifact-roundtrip", "warn", "though the server says that it is deleted")


def test_nobody_answers(ward: Ward) -> None:
    for check in ("health", "host-check", "artifact-roundtrip"):
        assert_finding(ward, check, "bad", "refused")


# Its log

DENIED = (
    "Traceback (most recent call last):",
    '  File "x.py", line 1, in upload',
    "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the PutObject operation: Denied",
    '2026/11/21 10:00:00 INFO:     127.0.0.1:1 - "PUT /api/2.0/mlflow-artifacts/x HTTP/1.1" 500 Internal Server Error',
)


def server_errors(ward: Ward, verdicts: dict[str, str] | None = None) -> dict[str, Any]:
    """What the check finds after others have found this."""
    from mlflow_provision.agent.doctor.checks.server_errors import server_errors as look

    patient = Patient(ward.data)
    patient.verdicts = verdicts or {}
    found = look(patient)
    return {"verdict": found.verdict, "evidence": found.evidence, "data": found.data}


def with_stamp(lines: tuple[str, ...], age: float = 5.0) -> list[str]:
    stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(time.time() - age))
    return [line.replace("2026/11/21 10:00:00", stamp) for line in lines]


def test_a_quiet_log(ward: Ward) -> None:
    ward.log('127.0.0.1 - "GET / HTTP/1.1" 404 Not Found')
    assert server_errors(ward)["verdict"] == "ok"


def test_a_request_that_failed_at_the_store(ward: Ward) -> None:
    ward.log(*with_stamp(DENIED))
    found = server_errors(ward)
    assert found["verdict"] == "bad"
    assert "1 request ended with a server error and 1 exception" in found["evidence"]
    assert found["data"]["causes"] == {"store": 1}
    assert found["data"]["cause"] == "The server cannot use its artifact store."


def test_what_works_again_is_only_a_trace(ward: Ward) -> None:
    ward.log(*with_stamp(DENIED))
    assert server_errors(ward, {"store": "ok", "artifact-roundtrip": "ok"})["verdict"] == "warn"
    assert server_errors(ward, {"store": "ok", "artifact-roundtrip": "bad"})["verdict"] == "bad"


def test_what_was_long_ago_is_only_a_trace(ward: Ward) -> None:
    ward.log(*with_stamp(DENIED, HOUR / 2), age=HOUR / 2)
    assert server_errors(ward)["verdict"] == "warn"


def test_what_was_longer_ago_is_forgotten(ward: Ward) -> None:
    ward.log(*with_stamp(DENIED, HOUR * 2), age=HOUR * 2)
    assert server_errors(ward)["verdict"] == "ok"


def test_what_an_earlier_doctor_provoked_is_not_told(ward: Ward) -> None:
    request = "PUT /api/2.0/mlflow-artifacts/artifacts/.mlflow-provision-doctor-0f/probe.bin HTTP/1.1"
    ward.log(*with_stamp((f'2026/11/21 10:00:00 INFO:     127.0.0.1:1 - "{request}" 500 Internal Server Error',)))
    assert server_errors(ward)["verdict"] == "ok"


def test_what_a_check_of_ours_provoked_is_not_told_again(ward: Ward) -> None:
    from mlflow_provision.agent.doctor.checks.server_errors import server_errors as look

    ward.log(*with_stamp(DENIED))
    patient = Patient(ward.data)
    patient.provoked.append((time.time() - 10, time.time()))
    assert look(patient).verdict == "ok"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("botocore.exceptions.ClientError: An error occurred (RequestTimeTooSkewed) when …", "clock"),
        ("botocore.exceptions.PartialCredentialsError: Partial credentials found in env", "credentials"),
        ("botocore.exceptions.NoCredentialsError: Unable to locate credentials", "credentials"),
        ("botocore.exceptions.ProfileNotFound: The config profile (x) could not be found", "credentials"),
        ("botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL", "store"),
        ("sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database is locked", "locked"),
        ("sqlite3.DatabaseError: database disk image is malformed", "damaged"),
        ("mlflow.exceptions.MlflowException: Detected out-of-date database schema (found version a)", "schema"),
        ("sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such column: runs.x", "schema"),
        ("OSError: [Errno 28] No space left on device", "disk"),
        ("PermissionError: [Errno 13] Permission denied: '/x'", "permissions"),
        ("MemoryError", "memory"),
        ("ModuleNotFoundError: No module named 'azure'", "package"),
        ("KeyError: 'something'", "other"),
    ],
)
def test_which_cause_an_exception_has(ward: Ward, line: str, cause: str) -> None:
    ward.log("Traceback (most recent call last):", '  File "x"', line)
    assert server_errors(ward)["data"]["causes"] == {cause: 1}


def test_a_chain_of_exceptions_is_one(ward: Ward) -> None:
    ward.log(
        "Traceback (most recent call last):",
        '  File "x"',
        "KeyError: 'first'",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        "PermissionError: [Errno 13] Permission denied",
        "2026 ERROR:    Exception in ASGI application",
        "  + Exception Group Traceback (most recent call last):",
        "  |   File x",
        "  +-+---------------- 1 ----------------",
        "    | Traceback (most recent call last):",
        "    | PermissionError: [Errno 13] Permission denied",
        "    +------------------------------------",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        "OSError: [Errno 28] No space left on device",
    )
    assert server_errors(ward)["data"]["causes"] == {"permissions": 1, "disk": 1}


# systemd


class Unit:
    """What `systemctl show` and `journalctl` say of the unit."""

    def __init__(self, ward: Ward, programs: FakePrograms, folder: Path) -> None:
        self.show, self.lines = folder / "show", folder / "journal"
        unit_file = folder / "mlflow-server.service"
        unit_file.write_text("# Managed by mlflow-provision\n")
        ward.data["unit"] = "mlflow-server.service"
        ward.data["files"]["unit_file"] = str(unit_file)
        ward.data["service"] = {
            **{name: ward.data["service"][name] for name in ("id", "url", "started_with", "watched", "restart_on")},
            "kind": "SystemdService",
            "unit": "mlflow-server.service",
        }
        programs.add("systemctl", f'case "$*" in *ControlGroup*) echo /none ;; *) cat {self.show} ;; esac')
        programs.add("journalctl", f"cat {self.lines}")
        self.lines.write_text("")
        self.is_()

    def is_(self, age: float = HOUR, **changes: str) -> None:
        """Running since `age` seconds, but for these properties."""
        state = {
            "LoadState": "loaded",
            "ActiveState": "active",
            "SubState": "running",
            "UnitFileState": "enabled",
            "MainPID": "4711",
            "NRestarts": "0",
            "Result": "success",
            "DropInPaths": "",
            "ActiveEnterTimestampMonotonic": str(int((time.monotonic() - age) * 1e6)),
            "InactiveEnterTimestampMonotonic": "0",
            **changes,
        }
        self.show.write_text("".join(f"{name}={value}\n" for name, value in state.items()))

    def wrote(self, *lines: tuple[float, str]) -> None:
        """Each: seconds ago, and the message."""
        now = time.time()
        with self.lines.open("a") as file:
            file.writelines(f"{now - age:.6f} host systemd[1]: {text}\n" for age, text in lines)


@pytest.fixture
def unit(ward: Ward, programs: FakePrograms, tmp_path: Path, fake: FakeMlflow) -> Unit:
    folder = tmp_path / "unit"
    folder.mkdir()
    return Unit(ward, programs, folder)


def test_a_unit_that_is_well(ward: Ward, unit: Unit) -> None:
    for check in ("service-installed", "service-running", "service-looping", "memory-killed"):
        assert_finding(ward, check, "ok")


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({"UnitFileState": "disabled"}, "bad", "does not start at boot"),
        ({"LoadState": "error"}, "bad", "systemd cannot load"),
        ({"DropInPaths": "/etc/systemd/system/mlflow-server.service.d/x.conf"}, "warn", "x.conf"),
        ({"DropInPaths": "/etc/systemd/system/mlflow-server.service.d/upgrade.conf"}, "ok", "loaded"),
    ],
)
def test_how_a_unit_is_installed(ward: Ward, unit: Unit, changes: dict[str, str], verdict: str, words: str) -> None:
    unit.is_(HOUR, **changes)
    found = assert_finding(ward, "service-installed", verdict, words)
    assert verdict != "warn" or (found["data"]["no_fix"] and "systemctl revert" in found["data"]["remedy"])


def _gone(path: Path) -> None:
    path.unlink()


def _masked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


def _foreign(path: Path) -> None:
    path.write_text("[Service]\n")


@pytest.mark.parametrize(
    ("hurt", "words"),
    [(_gone, "is missing"), (_masked, "is masked"), (_foreign, "was not written by mlflow-provision")],
)
def test_a_unit_file_that_is_not_ours(ward: Ward, unit: Unit, hurt: Callable[[Path], None], words: str) -> None:
    hurt(Path(ward.data["files"]["unit_file"]))
    assert_finding(ward, "service-installed", "bad", words)


def test_a_start_script_that_is_gone(ward: Ward) -> None:
    (ward.base / "start_mlflow_server.sh").unlink()
    assert_finding(ward, "service-installed", "bad", "start_mlflow_server.sh is missing")


def test_a_unit_that_was_stopped(ward: Ward, unit: Unit) -> None:
    moment = str(int((time.monotonic() - 300) * 1e6))
    unit.is_(ActiveState="inactive", SubState="dead", InactiveEnterTimestampMonotonic=moment)
    found = assert_finding(ward, "service-running", "bad", "is inactive, ended 5 minutes ago: it was stopped")
    assert found["data"]["fix"] == "start"


def test_a_unit_that_died(ward: Ward, unit: Unit) -> None:
    unit.is_(ActiveState="failed", SubState="failed", Result="exit-code")
    unit.wrote((10, "ImportError: no such thing"), (10, "2026/11/21 INFO:     chatter"))
    found = assert_finding(ward, "service-running", "bad", "is failed (result: exit-code)", "ImportError")
    assert "chatter" not in found["evidence"]


def test_a_unit_that_dies_again_and_again(ward: Ward, unit: Unit) -> None:
    died = "mlflow-server.service: Scheduled restart job, restart counter is at 3."
    unit.wrote((30, died), (20, died), (10, died), (9, "ModuleNotFoundError: No module named 'x'"))
    unit.is_(age=9, NRestarts="3")
    assert_finding(ward, "service-looping", "bad", "it has died 3 times", "ModuleNotFoundError")
    unit.is_(age=1, NRestarts="1", ActiveState="activating", SubState="auto-restart")
    assert_finding(ward, "service-looping", "bad")


def test_a_unit_that_died_and_stays_up_now(ward: Ward, unit: Unit) -> None:
    died = "mlflow-server.service: Scheduled restart job, restart counter is at 3."
    unit.wrote((300, died), (290, died), (280, died))
    unit.is_(age=280, NRestarts="3")
    assert_finding(ward, "service-looping", "warn", "the last time 5 minutes ago")


def test_workers_that_die_again_and_again(ward: Ward, unit: Unit) -> None:
    unit.wrote(*((age, "INFO:     Child process [12] died") for age in (9, 6, 3)))
    assert_finding(ward, "service-looping", "bad", "its workers have died 3 times")


def test_memory_that_ran_out(ward: Ward, unit: Unit) -> None:
    unit.wrote(
        (HOUR, "mlflow-server.service: A process of this unit has been killed by the OOM killer."),
        (HOUR, "mlflow-server.service: Failed with result 'oom-kill'."),
    )
    found = assert_finding(ward, "memory-killed", "bad", "memory ran out 1 time in the last 7 days")
    assert found["data"]["count"] == 1


def test_memory_that_ran_out_long_ago(ward: Ward, unit: Unit) -> None:
    unit.wrote((HOUR * 50, "mlflow-server.service: A process of this unit has been killed by the OOM killer."))
    assert_finding(ward, "memory-killed", "warn", "2 days ago")


def test_memory_that_ran_out_for_somebody_else(ward: Ward, unit: Unit) -> None:
    unit.wrote((HOUR, "Out of memory: Killed process 12 (java) total-vm:1kB"))
    assert_finding(ward, "memory-killed", "warn", "the kernel ended java")


def test_little_memory_is_left(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_provision.agent.doctor.checks import memory

    monkeypatch.setattr(memory, "_memory", lambda: (1 << 30, 20 << 20))
    assert_finding(ward, "memory-killed", "warn", "20 MiB of 1024 MiB of memory are left")


def test_a_memory_error_in_the_log(ward: Ward) -> None:
    ward.log("Traceback (most recent call last):", "MemoryError")
    assert_finding(ward, "memory-killed", "bad", "MemoryError")


def test_no_server_runs_in_user_scope(ward: Ward) -> None:
    found = assert_finding(ward, "service-running", "bad", "no server runs")
    assert found["data"]["fix"] == "start"
    assert_finding(ward, "service-looping", "skipped")


def test_the_environment_is_that_of_the_server_that_runs(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": "x", "MLFLOW_DEFAULT_ARTIFACT_ROOT": "s3://old/p"}
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], env=environment) as server:
        try:
            monkeypatch.setattr(Patient, "pids", [server.pid])
            assert_finding(ward, "proxy-mode", "bad", "s3://old/p")
            assert ward.alone("proxy-mode")["data"].get("fix") is None  # our files do not set it
        finally:
            server.kill()
