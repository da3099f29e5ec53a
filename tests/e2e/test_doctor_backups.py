"""Backups that are too old, were never read back, have failed or have no place; restores that nobody finished."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.backed_up import BASE, STATE
from tests.e2e.doctored import examine, finds
from tests.e2e.prepared import Prepared
from tests.e2e.served import NAME, UNIT, Served
from tests.e2e.waiting import AGENT, until

FOLDER, TIMER = "/var/backups/prod", f"{UNIT}-backup.timer"
DAY = 86400.0


@pytest.fixture(scope="module")
def patient(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that is to be backed up every day; nobody has waited for the first time."""
    with set_up.copy(tmp_path_factory.mktemp("home") / "operator") as served:
        yield served


def made_so_long_ago(patient: Served, days: float) -> None:
    """What the host has noted of the last backup is as old as this."""
    path = patient.host.path(f"{STATE}/last.json")
    noted = json.loads(path.read_text())
    for what in ("made", "verified"):
        if what in noted:
            noted[what]["at"] = time.time() - days * DAY
    path.write_text(json.dumps(noted))


@finds("backup-age", "backup-verified")
def test_backups_that_are_old_or_were_never_read_back(patient: Served) -> None:
    found = examine(patient.operator, code=0)
    assert (found.bad, found.warned) == (set(), {"backup-age"})  # nobody has named a place
    assert found.verdict("backup-verified") == "skipped"
    patient.operator.run("setup", NAME, "--backups", FOLDER, "--backup-schedule", "off", "--yes")
    patient.operator.run("backup", "now", NAME, "--no-verify")
    found = examine(patient.operator, code=0)
    assert (found.bad, found.warned) == (set(), {"backup-verified"})
    patient.operator.run("backup", "verify", NAME)
    found = examine(patient.operator, code=0)
    assert (found.bad, found.warned) == (set(), set())
    made_so_long_ago(patient, 40)
    found = examine(patient.operator, code=0)
    assert (found.bad, found.warned) == (set(), {"backup-age", "backup-verified"})
    assert "40 days" in found.of("backup-age")["evidence"]
    patient.operator.run("backup", "schedule", NAME, "--every", "daily", "--yes")
    found = examine(patient.operator)
    assert (found.bad, found.warned) == ({"backup-age"}, {"backup-verified"})  # somebody relies on it
    made_so_long_ago(patient, 1.5)
    assert examine(patient.operator, code=0).warned == set()


@finds("backup-timer", "drift")
def test_a_timer_that_somebody_stopped(patient: Served) -> None:
    for command in (["stop"], ["disable", "--now"]):
        patient.host.run(["systemctl", *command, TIMER])
        found = examine(patient.operator)
        assert (found.bad, found.warned) == ({"backup-timer", "drift"}, set())
        assert TIMER in found.of("backup-timer")["evidence"]
        mended = examine(patient.operator, "--fix", "--yes", code=0)
        assert (mended.bad, mended.warned) == (set(), set())
        assert patient.host.run(["systemctl", "is-enabled", TIMER]).stdout == "enabled\n"
        assert patient.host.run(["systemctl", "is-active", TIMER]).stdout == "active\n"


@finds("backup-store", "backup-failed")
def test_a_place_that_is_gone_and_a_backup_that_failed_there(patient: Served) -> None:
    """As when the disk is not mounted that backups go to."""
    patient.host.run(["mv", FOLDER, "/var/backups/away"])
    patient.host.run(["systemctl", "start", f"{UNIT}-backup"], check=False)
    found = examine(patient.operator)
    assert found.bad - {"drift"} == {"backup-store", "backup-failed"}
    assert FOLDER in found.of("backup-store")["evidence"]
    patient.host.run(["mv", "/var/backups/away", FOLDER])
    found = examine(patient.operator)
    assert (found.bad, found.warned) == ({"backup-failed"}, set())  # until one has succeeded
    patient.operator.run("backup", "now", NAME)
    assert examine(patient.operator, code=0).warned == set()

    owner = patient.host.run(["stat", "-c", "%U:%G", FOLDER]).stdout.strip()
    patient.host.run(["chown", "-R", "root:", FOLDER])
    found = examine(patient.operator)
    assert found.bad - {"drift"} == {"backup-store"}
    assert "denied" in found.of("backup-store")["evidence"]
    patient.host.run(["chown", "-R", owner, FOLDER])


@finds("backup-failed")
def test_a_backup_that_was_changed_in_its_place(patient: Served) -> None:
    made = patient.operator.json("backup", "now", NAME)["backup"]
    stored = max(patient.host.path(f"{FOLDER}/{NAME}/{made['id']}").rglob("*.gz"), key=lambda path: path.stat().st_size)
    content = stored.read_bytes()
    stored.write_bytes(content[:-9] + b"\0" + content[-8:])
    patient.operator.run("backup", "verify", made["id"], NAME, code=1)
    found = examine(patient.operator)
    assert (found.bad, found.warned) == ({"backup-failed"}, set())
    assert "verif" in found.of("backup-failed")["evidence"]
    stored.write_bytes(content)
    patient.operator.run("backup", "verify", made["id"], NAME)
    assert examine(patient.operator, code=0).warned == set()


@contextmanager
def in_the_middle(patient: Served, *command: str, journal: str) -> Iterator[subprocess.Popen[str]]:
    """Within the block a command's work on the host stands still, from the moment on at which it is dangerous."""
    process = patient.operator.start(*command)
    until(patient.host.path(journal).exists, process=process, pause=0.01)
    patient.host.run(["pkill", "-STOP", "-f", AGENT])
    try:
        yield process
    finally:
        patient.host.run(["pkill", "-CONT", "-f", AGENT], check=False)


@finds("restore-unfinished")
def test_a_restore_at_work_and_one_that_was_killed(patient: Served) -> None:
    command = ("restore", "--latest", NAME, "--yes")
    with in_the_middle(patient, *command, journal=f"{BASE}/backup/restore.json") as process:
        found = examine(patient.operator, code=None)
        assert found.verdict("restore-unfinished") == "skipped"
        assert "restore" in found.of("restore-unfinished")["evidence"]  # who, and what
        patient.host.run(["pkill", "-9", "-f", AGENT])
    process.communicate(timeout=60)
    found = examine(patient.operator)
    assert "restore-unfinished" in found.bad
    assert found.bad <= {"restore-unfinished", "service-running", "database-readable", "drift"}, found.bad
    assert f"restore {NAME}" in found.of("restore-unfinished")["remedy"]
    patient.operator.run(*command)
    assert examine(patient.operator, code=0).warned == set()
