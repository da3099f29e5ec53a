"""Every check that looks at files, databases and disks: well when all is well, and hurt in the way it is about."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlflow_provision.agent import processes, sockets
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.sockets import Listener
from tests.agent.doctor_ward import OLDER, PASSWORD, Ward, password_hash
from tests.agent.fake_programs import FakePrograms

DAY = 86400.0


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def assert_finding(ward: Ward, check: str, verdict: str, *words: str) -> None:
    found = ward.alone(check)
    assert found["verdict"] == verdict, found
    for word in words:
        assert word in found["evidence"], found


def uid() -> int:
    """Of somebody else."""
    return 65534


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


# Databases


@pytest.mark.parametrize(
    "check", ["database-readable", "database-locked", "database-schema", "default-password", "old-artifact-uris"]
)
def test_databases_that_are_well(ward: Ward, check: str) -> None:
    assert_finding(ward, check, "ok")


def test_a_database_that_is_missing(ward: Ward) -> None:
    (ward.live / "mlflow.db").unlink()
    assert_finding(ward, "database-readable", "bad", "mlflow.db is missing")


def test_a_database_that_is_none(ward: Ward) -> None:
    (ward.live / "basic_auth.db").write_bytes(b"no database at all, but long enough for one" * 100)
    assert_finding(ward, "database-readable", "bad", "basic_auth.db: file is not a database")


def test_an_empty_database(ward: Ward) -> None:
    (ward.live / "mlflow.db").write_bytes(b"")
    assert_finding(ward, "database-readable", "bad", "is empty")


def test_a_damaged_database(ward: Ward) -> None:
    for number in range(200):
        ward.sql("mlflow.db", "INSERT INTO runs VALUES (?, ?)", f"{number}" * 50, "mlflow-artifacts:/")
    with (ward.live / "mlflow.db").open("r+b") as file:
        file.seek(4096 * 8)
        file.write(b"\xff" * 8192)
    assert_finding(ward, "database-readable", "bad", "damaged")


@needs_root
def test_a_database_of_roots_is_what_files_owner_is_about(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: "mlflow.db" not in str(path))
    os.chown(ward.live / "mlflow.db", uid(), -1)
    assert_finding(ward, "database-readable", "skipped", "files-owner says more")
    assert ward.look("database-locked")["database-locked"]["verdict"] == "skipped"


def test_a_database_that_somebody_keeps(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_provision.agent.doctor.checks import databases

    monkeypatch.setattr(databases, "_BUSY", 0.2)
    program = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(30)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(ward.live / "mlflow.db")], stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout and other.stdout.readline()
            assert_finding(ward, "database-locked", "bad", "database is locked", f"process {other.pid}")
        finally:
            other.kill()


def test_a_database_that_somebody_else_has_open(ward: Ward) -> None:
    program = "import sys, time; f = open(sys.argv[1]); print('open', flush=True); time.sleep(30)"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(ward.live / "mlflow.db")], stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout and other.stdout.readline()
            assert_finding(ward, "database-locked", "warn", f"process {other.pid}")
        finally:
            other.kill()


def test_an_older_schema(ward: Ward) -> None:
    ward.sql("mlflow.db", "UPDATE alembic_version SET version_num = ?", OLDER)
    assert_finding(ward, "database-schema", "bad", f"older schema {OLDER}")


def test_a_newer_schema(ward: Ward) -> None:
    ward.sql("basic_auth.db", "UPDATE alembic_version_auth SET version_num = 'zzzz'")
    assert_finding(ward, "database-schema", "bad", "basic_auth.db has the schema zzzz, which this MLflow does not know")


def test_no_note_of_a_schema(ward: Ward) -> None:
    ward.sql("mlflow.db", "DELETE FROM alembic_version")
    assert_finding(ward, "database-schema", "unknown")


@pytest.mark.parametrize("password", ["password1234", "admin", "bob"])
def test_a_password_that_everybody_knows(ward: Ward, password: str) -> None:
    ward.sql("basic_auth.db", "UPDATE users SET password_hash = ? WHERE username = 'bob'", password_hash(password))
    assert_finding(ward, "default-password", "bad", "the password of bob")
    assert password_hash(password) not in repr(ward.events)


# Artifacts


def test_locations_outside_of_the_proxy(ward: Ward) -> None:
    ward.sql("mlflow.db", "INSERT INTO experiments VALUES (2, 'b', 's3://old/bucket/2')")
    ward.sql("mlflow.db", "INSERT INTO runs VALUES ('s', '/home/ada/mlruns/0/s/artifacts')")
    ward.sql("mlflow.db", "INSERT INTO runs VALUES ('t', 'file:///home/ada/mlruns/0/t/artifacts')")
    ward.sql("mlflow.db", "INSERT INTO model_versions VALUES ('m', 'runs:/x', 's3://old/m')")
    ward.sql("mlflow.db", "INSERT INTO trace_tags VALUES ('mlflow.artifactLocation', 's3://old/t')")
    found = ward.alone("old-artifact-uris")
    assert found["verdict"] == "warn"
    assert found["data"]["counts"] == {"experiments": 1, "runs": 2, "model_versions": 1, "trace_tags": 1}
    assert set(found["data"]["places"]) == {"s3://old", "/home/ada/mlruns"}
    assert "1 experiment, 2 runs, 1 model version, 1 trace" in found["evidence"]


def test_artifacts_go_through_the_server(ward: Ward) -> None:
    assert_finding(ward, "proxy-mode", "ok", "mlflow-artifacts:/")


def test_artifacts_that_do_not_go_through_the_server(ward: Ward) -> None:
    ward.environment(MLFLOW_DEFAULT_ARTIFACT_ROOT="s3://old/p")
    assert_finding(ward, "proxy-mode", "bad", "s3://old/p", "keys of their own")
    assert ward.alone("proxy-mode")["data"]["fix"] == "apply"


def test_a_server_that_serves_no_artifacts(ward: Ward) -> None:
    ward.environment(MLFLOW_SERVE_ARTIFACTS="false")
    assert_finding(ward, "proxy-mode", "bad", "--no-serve-artifacts")


# Disks


@pytest.mark.parametrize(
    ("free", "verdict"), [(0.5, "ok"), (0.09, "warn"), (0.015, "bad")], ids=("half", "a-tenth", "nothing")
)
def test_room_on_the_disk(ward: Ward, monkeypatch: pytest.MonkeyPatch, free: float, verdict: str) -> None:
    real = os.statvfs("/")
    blocks = 100 << 30
    info = os.statvfs_result((4096, 1, blocks, blocks, int(blocks * free), 1000, 1000, int(1000 * free), *real[8:]))
    monkeypatch.setattr(os, "statvfs", lambda path: info)
    assert_finding(ward, "inodes", verdict, "more files")
    small = os.statvfs_result((4096, 1, 1000, 1000, int(1000 * free), 0, 0, 0, *real[8:]))
    large = os.statvfs_result((1 << 20, 1 << 20, 20 << 10, 1, int((20 << 10) * free), 0, 0, 0, *real[8:]))
    monkeypatch.setattr(os, "statvfs", lambda path: large)
    assert_finding(ward, "disk", "bad" if free == 0.015 else verdict, "free")
    assert_finding(ward, "inodes", "skipped")
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    assert_finding(ward, "disk", "bad")  # a tenth of nothing is nothing


# Files


def test_files_that_are_well(ward: Ward) -> None:
    for check in ("secrets-readable", "files-owner", "tmp-litter"):
        assert_finding(ward, check, "ok")


@pytest.mark.parametrize("name", ["etc/secrets.env", "data/mlflow.db", "data/basic_auth.db", "etc"])
def test_a_secret_that_others_may_read(ward: Ward, name: str) -> None:
    (ward.base / name).chmod(0o755 if name == "etc" else 0o644)
    assert_finding(ward, "secrets-readable", "bad", f"{ward.base / name} (mode 0")
    assert ward.alone("secrets-readable")["data"]["paths"] == [str(ward.base / name)]


def test_a_folder_of_backups_that_is_closed_from_above(ward: Ward) -> None:
    (ward.kept / "upgrades-store").mkdir()
    (ward.kept / "upgrades-store").chmod(0o755)
    assert_finding(ward, "secrets-readable", "ok")
    ward.kept.chmod(0o755)
    assert_finding(ward, "secrets-readable", "bad", f"{ward.kept} (mode 0755")


def test_secrets_that_a_restore_put_aside(ward: Ward) -> None:
    (ward.kept / "before-x").mkdir(mode=0o700)
    (ward.kept / "before-x" / "secrets.env").write_text("x")
    (ward.kept / "before-x" / "secrets.env").chmod(0o604)
    assert_finding(ward, "secrets-readable", "ok")  # nobody gets there
    for folder in (ward.kept, ward.kept / "before-x"):
        folder.chmod(0o755)
    assert_finding(ward, "secrets-readable", "bad", "before-x/secrets.env (mode 0604: others may read it)")


def test_what_an_upgrade_put_aside_is_as_it_was(ward: Ward) -> None:
    """The start script among it, which everybody may read where it comes from."""
    ward.kept.chmod(0o700)
    files = ward.kept / "upgrades" / "20261121T210206Z" / "files"
    files.mkdir(parents=True)
    (files / "09-start_mlflow_server.sh").write_text("#!/bin/sh")
    (files / "09-start_mlflow_server.sh").chmod(0o755)
    assert_finding(ward, "secrets-readable", "ok")


def test_what_the_server_runs_that_anybody_may_change(ward: Ward) -> None:
    (ward.base / "start_mlflow_server.sh").chmod(0o757)
    assert_finding(ward, "secrets-readable", "bad", "anybody may change what the server runs")


def test_a_secret_in_the_list_of_processes(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["python -m mlflow server --backend-store-uri postgresql://u:hush@db/m"]
    monkeypatch.setattr(Patient, "command_lines", lines)
    assert_finding(ward, "secrets-readable", "bad", "everybody on the host can see it")


@needs_root
def test_files_of_somebody_else(ward: Ward) -> None:
    (ward.artifacts / "1").mkdir()
    (ward.artifacts / "1" / "f").write_text("x")
    os.chown(ward.artifacts / "1" / "f", uid(), -1)
    (ward.live / "link").symlink_to("/etc/passwd")
    os.chown(ward.live / "link", uid(), -1, follow_symlinks=False)
    found = ward.alone("files-owner")
    assert (found["verdict"], found["data"]["paths"]) == ("bad", [str(ward.artifacts / "1" / "f")])


def test_a_database_that_its_owner_may_not_write(ward: Ward) -> None:
    (ward.live / "mlflow.db").chmod(0o400)
    (ward.artifacts / "f").write_text("an artifact may be of any mode")
    (ward.artifacts / "f").chmod(0o400)
    found = ward.alone("files-owner")
    assert (found["verdict"], found["data"]["count"]) == ("bad", 1)
    assert "mlflow.db (mode 0400)" in found["evidence"]


def test_what_lies_about(ward: Ward) -> None:
    half = ward.root / "releases" / "3.16.0-half"
    half.mkdir()
    young, old = ward.tmp / "young", ward.tmp / "old"
    young.write_text("x")
    old.write_text("x" * 1000)
    beside = ward.etc / ".server.env.mlflow-provision-new"
    beside.write_text("x")
    assert_finding(ward, "tmp-litter", "ok")
    ward.is_as_old_as(2 * DAY, half, old, beside, ward.release)
    found = ward.alone("tmp-litter")
    assert found["verdict"] == "warn"
    assert sorted(found["data"]["paths"]) == sorted(map(str, [half, old, beside]))
    assert "3 leftovers" in found["evidence"]


def test_an_old_folder_in_which_somebody_still_writes(ward: Ward) -> None:
    folder = ward.tmp / "upload"
    folder.mkdir()
    (folder / "part").write_text("x")
    ward.is_as_old_as(2 * DAY, folder)
    assert_finding(ward, "tmp-litter", "ok")


# The release


def test_a_release_that_is_well(ward: Ward) -> None:
    assert_finding(ward, "venv-broken", "ok", "Python 3.11.2")
    assert_finding(ward, "mlflow-old", "ok", "MLflow 3.17.2")


def _no_python(ward: Ward) -> None:
    (ward.release / "bin" / "python").unlink()
    (ward.release / "bin" / "python").symlink_to("/usr/bin/python3.6")


def _no_link(ward: Ward) -> None:
    (ward.base / "venv").unlink()


def _nowhere(ward: Ward) -> None:
    shutil.rmtree(ward.release)


def _no_stamp(ward: Ward) -> None:
    (ward.release / "release.json").unlink()


def _silent(ward: Ward) -> None:
    python = ward.release / "bin" / "python"
    python.write_text("#!/bin/sh\necho 'libpython3.11.so.1.0: cannot open shared object file' >&2; exit 127\n")


def _other_python(ward: Ward) -> None:
    ward.program('{"python": "3.12.0", "missing": ["mlflow: not found", "uvicorn: not found"]}')


def _lost(ward: Ward) -> None:
    ward.stamp("mlflow-3.17.2", "sqlalchemy-2.0.1")


@pytest.mark.parametrize(
    ("hurt", "words"),
    [
        (_no_python, "is gone (it was"),
        (_no_link, "venv is missing"),
        (_nowhere, "which is not there"),
        (_no_stamp, "only half installed"),
        (_silent, "libpython3.11.so.1.0: cannot open"),
        (_other_python, "mlflow: not found"),
        (_lost, "sqlalchemy-2.0.1: its files are gone"),
    ],
)
def test_a_broken_venv(ward: Ward, hurt: Callable[[Ward], None], words: str) -> None:
    hurt(ward)
    found = ward.alone("venv-broken")
    assert found["verdict"] == "bad"
    assert words in found["evidence"]
    assert found["data"]["fix"] in ("reinstall", "apply")


def test_a_package_that_the_release_never_had_is_no_loss(ward: Ward) -> None:
    ward.program('{"python": "3.11.2", "missing": ["uvicorn: not found", "yaml: not found"]}')
    assert_finding(ward, "venv-broken", "ok")


def test_the_program_of_the_check_runs(tmp_path: Path) -> None:
    """By the Python of these tests, which has no MLflow: all that matters is that it answers."""
    from mlflow_provision.agent.doctor.checks import release

    answer, problem = release._asked(sys.executable)
    assert problem == ""
    assert answer["python"] == "{}.{}.{}".format(*sys.version_info[:3])


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("3.14.1", "ok"), ("3.12.0", "warn"), ("2.22.1", "bad"), ("3.9.2", "bad")],
)
def test_how_old_mlflow_is(ward: Ward, version: str, verdict: str) -> None:
    site = ward.release / "lib/python3.11/site-packages"
    (site / "mlflow-3.17.2.dist-info").rename(site / f"mlflow-{version}.dist-info")
    assert_finding(ward, "mlflow-old", verdict, version)


# Backups


def test_no_backups_at_all(ward: Ward) -> None:
    assert_finding(ward, "backup-age", "warn", "there are no backups")
    for check in ("backup-verified", "backup-failed", "backup-timer", "backup-store"):
        assert_finding(ward, check, "skipped")


def test_backups_that_are_well(ward: Ward) -> None:
    ward.with_backups()
    ward.noted(made=DAY, verified=3 * DAY)
    for check in ("backup-age", "backup-verified", "backup-failed", "backup-store"):
        assert_finding(ward, check, "ok")


def test_the_first_backup_is_not_due_yet(ward: Ward) -> None:
    ward.with_backups()
    assert_finding(ward, "backup-age", "ok", "not due yet")
    ward.is_as_old_as(3 * DAY, ward.kept)
    assert_finding(ward, "backup-age", "bad", "no backup was ever made")


def test_a_backup_that_is_too_old(ward: Ward) -> None:
    ward.with_backups()
    ward.noted(made=3 * DAY)
    assert_finding(ward, "backup-age", "bad", "3 days ago", "daily")
    ward.data["backup"]["schedule"] = "weekly"
    assert_finding(ward, "backup-age", "ok")
    ward.data["backup"]["scheduled"] = False
    assert_finding(ward, "backup-age", "ok")
    ward.noted(made=30 * DAY)
    assert_finding(ward, "backup-age", "warn", "nothing makes them by itself")


def test_backups_that_nobody_read_back(ward: Ward) -> None:
    ward.with_backups()
    ward.noted(made=DAY, verified=40 * DAY)
    assert_finding(ward, "backup-verified", "warn", "40 days ago")
    ward.noted(made=DAY)
    assert_finding(ward, "backup-verified", "ok", "not due yet")
    ward.is_as_old_as(40 * DAY, ward.kept)
    assert_finding(ward, "backup-verified", "warn", "no backup was ever read back")


def test_a_backup_that_failed(ward: Ward) -> None:
    ward.with_backups()
    failure = {"at": time.time() - 3600, "message": "the place is full", "hint": "make room", "what": "backup"}
    ward.noted(failures={"made": failure})
    found = ward.alone("backup-failed")
    assert found["verdict"] == "bad"
    assert "the last backup failed 1 hour ago: the place is full" in found["evidence"]
    assert found["data"]["remedy"] == "make room"


def test_a_place_for_backups_that_is_gone(ward: Ward) -> None:
    ward.with_backups()
    (ward.root / "backups").rmdir()
    assert_finding(ward, "backup-store", "bad", "there is no folder")


def test_no_line_in_the_crontab(ward: Ward, programs: FakePrograms) -> None:
    programs.add("crontab", "echo '# nothing'")
    ward.with_backups()
    assert_finding(ward, "backup-timer", "bad", "there is none")
    programs.add("crontab", f"echo '45 2 * * * python {ward.base}/agent.zip job'")
    assert_finding(ward, "backup-timer", "ok")


@pytest.mark.parametrize(
    ("state", "verdict", "words"),
    [
        ("LoadState=loaded\nUnitFileState=enabled\nActiveState=active", "ok", "the next one is made in 2 hours"),
        ("LoadState=not-found\nUnitFileState=\nActiveState=inactive", "bad", "there is no mlflow-server-backup.timer"),
        ("LoadState=loaded\nUnitFileState=disabled\nActiveState=active", "bad", "gone after the next reboot"),
        ("LoadState=loaded\nUnitFileState=enabled\nActiveState=inactive", "bad", "it starts nothing"),
    ],
)
def test_the_timer(ward: Ward, programs: FakePrograms, state: str, verdict: str, words: str) -> None:
    following = time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + 2.2 * 3600))
    programs.add("systemctl", f"case \"$*\" in *NextElapse*) echo '{following}' ;; *) echo '{state}' ;; esac")
    ward.with_backups(timer="mlflow-server-backup.timer")
    ward.data["unit"] = "mlflow-server.service"
    assert_finding(ward, "backup-timer", verdict, words)


# What was begun


def test_nothing_is_half_way(ward: Ward) -> None:
    assert_finding(ward, "restore-unfinished", "ok")
    assert_finding(ward, "upgrade-unfinished", "ok")


def test_a_restore_that_was_interrupted(ward: Ward) -> None:
    (ward.kept / "restore.json").write_text(json.dumps({"id": "b1", "phase": "switching", "since": time.time() - 600}))
    (ward.kept / "restoring").touch()
    assert_finding(
        ward, "restore-unfinished", "bad", "the restore of b1", "switching (10 minutes ago)", "does not start"
    )


def test_an_upgrade_that_was_interrupted(ward: Ward) -> None:
    (ward.kept / "upgrading").write_text(
        json.dumps({"action": "rollback", "to": {"version": "3.10.1"}, "phase": "start"})
    )
    assert_finding(ward, "upgrade-unfinished", "bad", "the rollback to 3.10.1 was interrupted while start")


def test_an_adoption_that_was_interrupted(ward: Ward) -> None:
    (ward.base / "adopted").mkdir()
    (ward.base / "adopted" / "adoption.json").write_text(json.dumps({"old": {"tree": "/x"}, "phase": "moving"}))
    assert_finding(ward, "restore-unfinished", "bad", "the adoption of an old server", "moving")


@pytest.fixture
def busy(ward: Ward) -> Iterator[None]:
    with (ward.root / ".lock").open("w") as file:
        json.dump({"operator": "ada@laptop", "what": "upgrade server"}, file)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_what_somebody_works_on_is_not_unfinished(ward: Ward, busy: None) -> None:
    (ward.kept / "upgrading").write_text("{}")
    assert_finding(ward, "upgrade-unfinished", "skipped", "ada@laptop works on it right now: upgrade server")


# Ports


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> list[Listener]:
    found: list[Listener] = []
    monkeypatch.setattr(sockets, "listeners", lambda: found)
    monkeypatch.setattr(sockets, "owner", lambda inode: os.getpid())
    monkeypatch.setattr(processes, "sockets", lambda pids: {"ours"})
    return found


def test_the_port_is_the_servers(ward: Ward, listening: list[Listener]) -> None:
    listening += [Listener("127.0.0.1", 1, "ours"), Listener("0.0.0.0", 22, "sshd")]
    assert_finding(ward, "port-taken", "ok")
    assert_finding(ward, "port-open", "ok", "only this host can reach it")


def test_the_port_is_somebody_elses(ward: Ward, listening: list[Listener], monkeypatch: pytest.MonkeyPatch) -> None:
    listening += [Listener("127.0.0.1", 1, "theirs")]
    assert_finding(ward, "port-taken", "bad", f"process {os.getpid()}")
    monkeypatch.setattr(sockets, "owner", lambda inode: 0)
    assert_finding(ward, "port-taken", "unknown", "may only root know")


def test_a_port_that_is_open_though_it_should_not_be(ward: Ward, listening: list[Listener]) -> None:
    listening += [Listener("0.0.0.0", 1, "ours")]
    assert_finding(ward, "port-open", "bad", "0.0.0.0:1", "the deployment file says 127.0.0.1:1")


def test_a_port_that_is_meant_to_be_open(ward: Ward, listening: list[Listener]) -> None:
    ward.data["verify"]["listen"] = "0.0.0.0"
    listening += [Listener("0.0.0.0", 1, "ours")]
    assert_finding(ward, "port-open", "warn", "other machines can reach it, without encryption")
    listening += [Listener("0.0.0.0", 2, "ours")]
    assert_finding(ward, "port-open", "bad", "0.0.0.0:2")


def test_no_password_and_no_hash_is_told(ward: Ward) -> None:
    ward.findings()
    with sqlite3.connect(ward.live / "basic_auth.db") as connection:
        hashes = [row[0] for row in connection.execute("SELECT password_hash FROM users")]
    for secret in (PASSWORD, "secret-of-flask", *hashes):
        assert secret not in repr(ward.events)


def test_a_move_that_was_interrupted(ward: Ward) -> None:
    assert_finding(ward, "move-unfinished", "ok")
    (ward.base / "moves").mkdir()
    (ward.base / "moves" / "journal.json").write_text("{}")
    assert_finding(ward, "move-unfinished", "bad", "a move of artifacts was interrupted")


@pytest.mark.parametrize("ending", ["next", "old"])
def test_a_rotation_that_was_interrupted(ward: Ward, ending: str) -> None:
    assert_finding(ward, "rotation-unfinished", "ok")
    (ward.etc / f"secrets.env.{ending}").write_text("x")
    assert_finding(ward, "rotation-unfinished", "bad", f"secrets.env.{ending}")
