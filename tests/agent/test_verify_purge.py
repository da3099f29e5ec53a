"""Rows of our experiments leave the databases, and nothing else does. The schema is MLflow's, abridged."""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.verify.purge import purge

TRACKING = """
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, lifecycle_stage TEXT);
CREATE TABLE experiment_tags (key TEXT, value TEXT, experiment_id INTEGER);
CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, experiment_id INTEGER);
CREATE TABLE metrics (key TEXT, value FLOAT, run_uuid TEXT);
CREATE TABLE latest_metrics (key TEXT, value FLOAT, run_uuid TEXT);
CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT);
CREATE TABLE model_versions (name TEXT, run_id TEXT);
INSERT INTO experiments VALUES (0, 'Default', 'active');
"""
AUTH = """
CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT);
CREATE TABLE roles (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE role_permissions (id INTEGER PRIMARY KEY, role_id INTEGER, resource_type TEXT, resource_pattern TEXT);
CREATE TABLE user_role_assignments (id INTEGER PRIMARY KEY, user_id INTEGER, role_id INTEGER);
CREATE TABLE experiment_permissions (id INTEGER PRIMARY KEY, experiment_id TEXT, user_id INTEGER);
INSERT INTO users VALUES (1, 'admin'), (2, 'eve');
"""


class Databases:
    def __init__(self, folder: Path) -> None:
        self.tracking, self.auth = str(folder / "mlflow db?.db"), str(folder / "auth.db")
        self.run(self.tracking, TRACKING)
        self.run(self.auth, AUTH)

    def run(self, path: str, script: str) -> None:
        with closing(sqlite3.connect(path)) as database:
            database.executescript(script)

    def add(self, number: int, name: str, stage: str = "deleted") -> None:
        """An experiment with a run, as a verification leaves it, and the creator's permission."""
        run = f"run-{number}"
        self.run(
            self.tracking,
            f"INSERT INTO experiments VALUES ({number}, '{name}', '{stage}');"
            f"INSERT INTO experiment_tags VALUES ('k', 'v', {number});"
            f"INSERT INTO runs VALUES ('{run}', {number});"
            + "".join(
                f"INSERT INTO {t} VALUES ('k', 1, '{run}');" for t in ("metrics", "latest_metrics", "params", "tags")
            ),
        )
        self.run(
            self.auth,
            "INSERT OR IGNORE INTO roles VALUES (7, '__user_1__');"
            "INSERT OR IGNORE INTO user_role_assignments VALUES (7, 1, 7);"
            f"INSERT INTO role_permissions VALUES (NULL, 7, 'experiment', '{number}');"
            f"INSERT INTO experiment_permissions VALUES (NULL, '{number}', 1);",
        )

    def dump(self) -> list[str]:
        lines = []
        for path in (self.tracking, self.auth):
            with closing(sqlite3.connect(path)) as database:
                lines += [line for line in database.iterdump() if line.startswith("INSERT")]
        return lines

    def purge(self, names: dict[str, str], username: str = "admin") -> str:
        return purge(self.tracking, self.auth, names, username)


@pytest.fixture
def databases(tmp_path: Path) -> Databases:
    return Databases(tmp_path)


def test_a_new_server_is_as_before(databases: Databases) -> None:
    before = databases.dump()
    databases.add(1, "ours")
    databases.add(2, "ours too")
    assert databases.purge({"1": "ours", "2": "ours too"}) == ""
    assert databases.dump() == before


def test_a_server_in_use_keeps_all_that_is_not_ours(databases: Databases) -> None:
    databases.add(1, "theirs", "active")
    databases.add(2, "their deleted one")
    databases.run(databases.auth, "INSERT INTO roles VALUES (8, 'team')")
    databases.run(databases.auth, "INSERT INTO role_permissions VALUES (NULL, 8, 'experiment', '3')")
    databases.run(databases.auth, "INSERT INTO role_permissions VALUES (NULL, 7, 'registered_model', '3')")
    databases.run(databases.auth, "INSERT INTO experiment_permissions VALUES (NULL, '3', 2)")
    before = databases.dump()
    databases.add(3, "ours")
    assert databases.purge({"3": "ours"}) == ""
    assert databases.dump() == before


def test_the_role_of_a_user_who_may_be_using_it_stays(databases: Databases) -> None:
    databases.add(1, "theirs", "active")
    databases.run(databases.auth, "DELETE FROM role_permissions")
    before = databases.dump()
    databases.add(2, "ours")
    assert databases.purge({"2": "ours"}) == ""
    assert databases.dump() == before


@pytest.mark.parametrize(("name", "stage"), [("renamed", "deleted"), ("ours", "active")])
def test_an_experiment_that_is_not_what_we_think_stays(databases: Databases, name: str, stage: str) -> None:
    databases.add(1, name, stage)
    before = databases.dump()
    assert databases.purge({"1": "ours", "99": "ours"}) == ""
    assert databases.dump() == before


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("DROP TABLE latest_metrics", "unknown database schema (latest_metrics)"),
        ("ALTER TABLE runs RENAME COLUMN experiment_id TO number", "unknown database schema (runs)"),
        ("CREATE TABLE new (run_uuid TEXT); INSERT INTO new VALUES ('run-1')", "table new refers to it"),
        ("INSERT INTO model_versions VALUES ('m', 'run-1')", "table model_versions refers to it"),
        ("CREATE TABLE queues (experiment_id INTEGER); INSERT INTO queues VALUES (1)", "table queues refers to it"),
    ],
)
def test_hands_off_a_database_that_is_not_as_we_know_it(databases: Databases, script: str, reason: str) -> None:
    databases.add(1, "ours")
    databases.run(databases.tracking, script)
    before = databases.dump()
    assert databases.purge({"1": "ours"}) == reason
    assert databases.dump() == before


def test_never_makes_a_database(databases: Databases, tmp_path: Path) -> None:
    assert "unable to open" in purge(str(tmp_path / "none.db"), databases.auth, {"1": "ours"}, "admin")
    assert not (tmp_path / "none.db").exists()


def test_a_busy_database_is_left_alone(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlflow_provision.agent.verify.purge._BUSY_SECONDS", 0.1)
    databases.add(1, "ours")
    with closing(sqlite3.connect(databases.tracking, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert databases.purge({"1": "ours"}) == "database is locked"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_as_the_service_user_leaves_no_file_of_roots(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    folder = Path("/var/tmp") / f"mlflow-provision-test-{os.getpid()}"  # tmp_path is closed to others
    folder.mkdir()
    try:
        databases = Databases(folder)
        databases.run(databases.tracking, "PRAGMA journal_mode = WAL")
        databases.add(1, "ours")
        for path in [folder, *folder.iterdir()]:
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        assert as_user("nobody", lambda: databases.purge({"1": "ours"})) == ""
        assert {path.stat().st_uid for path in folder.iterdir()} == {nobody.pw_uid}
        databases.run(databases.tracking, "PRAGMA journal_mode = DELETE")
        assert not any("ours" in line for line in databases.dump())
    finally:
        shutil.rmtree(folder)
