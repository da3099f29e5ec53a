"""The administrator: whether a password still fits is read from MLflow's own table, in Werkzeug's own formats."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_provision.agent.command import CommandFailed
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.admin_user import AdminUser
from tests.agent.converge import found, needs_root, snapshot

PASSWORD = "correct horse battery CANARY"


def scrypt(password: str, n: int = 512) -> str:
    """What werkzeug.security.generate_password_hash(password) makes today, with n = 32768 (and 0.1 s of CPU)."""
    digest = hashlib.scrypt(password.encode(), salt=b"Nz0SrYFpbYJyBBwT", n=n, r=8, p=1, maxmem=1 << 26)
    return f"scrypt:{n}:8:1$Nz0SrYFpbYJyBBwT$" + digest.hex()


def scrypt_in_full(password: str) -> str:
    return scrypt(password, 32768)


def pbkdf2(password: str) -> str:
    """What it made before, and still makes where OpenSSL has no scrypt."""
    return "pbkdf2:sha256:1000$aYd2Wq$" + hashlib.pbkdf2_hmac("sha256", password.encode(), b"aYd2Wq", 1000).hex()


@pytest.fixture
def admin(tmp_path: Path) -> AdminUser:
    return AdminUser(
        id="admin",
        username="admin",
        password=PASSWORD,
        database=str(tmp_path / "basic_auth.db"),
        release=str(tmp_path / "release"),
        config=str(tmp_path / "basic_auth.ini"),
    )


def put(admin: AdminUser, password_hash: str, is_admin: bool = True, username: str = "admin") -> None:
    with closing(sqlite3.connect(admin.database)) as connection, connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, username VARCHAR(255) UNIQUE, "
            "password_hash VARCHAR(255), is_admin BOOLEAN)"
        )
        connection.execute(
            "INSERT INTO users (username, password_hash, is_admin) VALUES (?, ?, ?)",
            (username, password_hash, is_admin),
        )


@needs_root
def test_a_database_that_root_took_needs_no_backup(admin: AdminUser) -> None:
    """Somebody ran an MLflow command with sudo, or copied the file."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        tracking = Path(folder, "mlflow.db")
        with closing(sqlite3.connect(tracking)) as connection:
            connection.execute("CREATE TABLE runs (id INTEGER)")
        tracking.chmod(0o600)
        put(admin, scrypt(PASSWORD))
        for path in (tracking, Path(admin.database)):
            with pytest.raises(AgentError) as caught:
                found(dataclasses.replace(admin, database=str(path), tracking=str(tracking), owner="daemon"))
            assert f"chown daemon: {path}" in caught.value.hint


def test_without_a_database_it_is_created(admin: AdminUser) -> None:
    assert found(admin) == "create"


def test_without_a_table_it_is_created(admin: AdminUser) -> None:
    Path(admin.database).touch()
    assert found(admin) == "create"


def test_beside_other_users_it_is_created(admin: AdminUser) -> None:
    put(admin, scrypt(PASSWORD), username="admin2")
    assert found(admin) == "create"


@pytest.mark.parametrize("make_hash", [scrypt_in_full, scrypt, pbkdf2])
def test_the_password_that_is_set_is_no_change(admin: AdminUser, make_hash: Callable[[str], str]) -> None:
    put(admin, make_hash(PASSWORD))
    assert found(admin) == ""


@pytest.mark.parametrize("make_hash", [scrypt, pbkdf2])
@pytest.mark.parametrize("other", ["another password", PASSWORD + " ", PASSWORD.upper(), ""])
def test_another_password_is_a_change(admin: AdminUser, make_hash: Callable[[str], str], other: str) -> None:
    put(admin, make_hash(other))
    assert found(admin) == "set the password"


def test_a_demoted_administrator_is_seen(admin: AdminUser) -> None:
    put(admin, scrypt(PASSWORD), is_admin=False)
    assert found(admin) == "make an administrator again"


def test_without_a_password_an_administrator_is_left_as_he_is(admin: AdminUser) -> None:
    put(admin, scrypt("whatever"))
    unknown = AdminUser("admin", "admin", "", admin.database, admin.release, admin.config)
    assert found(unknown) == ""


@pytest.mark.parametrize("other", ["!", "", "plain", "md5:$a$b", "scrypt:x:8:1$a$b", "scrypt:15:8:1$a$b", "a:b:1$c$d"])
def test_a_hash_of_another_kind_is_a_password_to_set(admin: AdminUser, other: str) -> None:
    put(admin, other)
    assert found(admin) == "set the password"


def test_checking_writes_nothing(admin: AdminUser, tmp_path: Path) -> None:
    put(admin, scrypt(PASSWORD))
    before = snapshot(tmp_path, times=True)
    assert found(admin) == ""
    assert snapshot(tmp_path, times=True) == before


def test_what_is_no_database_is_an_error_that_says_so(admin: AdminUser) -> None:
    Path(admin.database).write_bytes(b"no database at all, " * 100)
    with pytest.raises(AgentError, match=r"basic_auth\.db: file is not a database") as caught:
        found(admin)
    assert "backup" in caught.value.hint


def fake_python(admin: AdminUser, ending: str = "") -> Path:
    """The Python of the release: writes down what it gets. Returns the folder it writes to."""
    python = Path(admin.release, "bin", "python")
    python.parent.mkdir(parents=True)
    seen = shlex.quote(str(python.parent))
    python.write_text(f'#!/bin/sh\necho "$@" > {seen}/argv\nenv > {seen}/env\ncat > {seen}/stdin\n{ending}\n')
    python.chmod(0o755)
    return python.parent


def test_the_password_travels_over_stdin_alone(admin: AdminUser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_PROVISION_ADMIN_PASSWORD", PASSWORD)
    seen = fake_python(admin)
    admin.apply(Context())
    assert json.loads((seen / "stdin").read_text()) == {
        "username": "admin",
        "password": PASSWORD,
        "database": admin.database,
        "user": "",
        "tracking": "",
    }
    assert "CANARY" not in (seen / "argv").read_text() + (seen / "env").read_text()
    assert "CANARY" not in repr(admin)


@pytest.mark.parametrize("content", [None, "", "CREATE TABLE experiments (name TEXT)"])
def test_the_tracking_database_is_made_where_there_is_none(admin: AdminUser, content: str | None) -> None:
    """A file without tables counts as none; one with tables is somebody's work."""
    tracking = Path(admin.database).with_name("mlflow.db")
    put(admin, scrypt(PASSWORD))
    if content is not None:
        with closing(sqlite3.connect(tracking)) as connection:
            connection.executescript("PRAGMA user_version=1;" + content)
    its = dataclasses.replace(admin, tracking=str(tracking))
    seen = fake_python(admin)
    its.apply(Context())
    told = json.loads((seen / "stdin").read_text())["tracking"]
    if content:
        assert (found(its), told) == ("", "")
    else:
        assert (found(its), told) == ("create the tracking database", str(tracking))


def test_a_failure_says_what_mlflow_said_and_not_our_program(admin: AdminUser) -> None:
    fake_python(admin, "echo 'mlflow.exceptions.MlflowException: Password must be longer'; exit 1")
    with pytest.raises(CommandFailed, match="Password must be longer") as caught:
        admin.apply(Context())
    assert "CANARY" not in caught.value.message
    assert "create_user" not in caught.value.message


@needs_root
def test_a_database_of_the_service_user_is_read_as_that_user(admin: AdminUser, open_folder: Path) -> None:
    data = open_folder / "data"
    data.mkdir(mode=0o700)
    its = AdminUser("admin", "admin", PASSWORD, str(data / "basic_auth.db"), admin.release, admin.config, "daemon")
    put(its, scrypt(PASSWORD))
    assert found_error(its) == f"{its.database}: unable to open database file"
    shutil.chown(data, "daemon")
    shutil.chown(its.database, "daemon")
    assert found(its) == ""


@needs_root
def test_a_service_user_that_is_gone_is_a_change_and_no_crash(admin: AdminUser) -> None:
    put(admin, scrypt(PASSWORD))
    its = AdminUser("admin", "admin", PASSWORD, admin.database, admin.release, admin.config, "no-such-user")
    assert "no-such-user" in found(its)


def found_error(admin: AdminUser) -> str:
    with pytest.raises(AgentError) as caught:
        found(admin)
    return caught.value.message
