"""The parts of the move: databases, places of artifacts, files, passwords; in a temporary tree."""

from __future__ import annotations

import getpass
import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.adoption import files, migration, passwords, places, readable
from mlflow_provision.agent.databases import contents
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.adopted_data import AdoptedData

SCHEMA = """
CREATE TABLE alembic_version (version_num TEXT);
CREATE TABLE experiments (experiment_id INTEGER, name TEXT, lifecycle_stage TEXT, artifact_location TEXT);
CREATE TABLE runs (run_uuid TEXT, name TEXT, status TEXT, start_time INTEGER, lifecycle_stage TEXT,
    experiment_id INTEGER, artifact_uri TEXT);
CREATE TABLE params (run_uuid TEXT, key TEXT, value TEXT);
CREATE TABLE latest_metrics (run_uuid TEXT, key TEXT, value REAL);
CREATE TABLE metrics (run_uuid TEXT, key TEXT, value REAL, timestamp INTEGER, step INTEGER, is_nan INTEGER);
CREATE TABLE tags (run_uuid TEXT, key TEXT, value TEXT);
CREATE TABLE registered_models (name TEXT, description TEXT);
CREATE TABLE model_versions (name TEXT, version INTEGER, source TEXT, storage_location TEXT);
CREATE TABLE trace_tags (key TEXT, value TEXT, request_id TEXT);
INSERT INTO alembic_version VALUES ('abc');
INSERT INTO experiments VALUES (0, 'Default', 'active', 'mlruns/0');
INSERT INTO experiments VALUES (1, 'one', 'active', 'file:///T/mlruns/1');
INSERT INTO experiments VALUES (2, 'own', 'deleted', '/elsewhere/own');
INSERT INTO experiments VALUES (3, 'bucket', 'active', 's3://b/p/3');
INSERT INTO experiments VALUES (4, 'proxied', 'active', 'mlflow-artifacts:/4');
INSERT INTO runs VALUES ('r1', 'a', 'FINISHED', 1000, 'active', 1, '/T/mlruns/1/r1/artifacts');
INSERT INTO runs VALUES ('r2', 'b', 'RUNNING', 2000, 'active', 1, '/lost/r2/artifacts');
INSERT INTO params VALUES ('r1', 'rate', '0.1');
INSERT INTO latest_metrics VALUES ('r1', 'loss', 0.5);
INSERT INTO model_versions VALUES ('churn', 1, '/T/mlruns/1/r1/artifacts/model', 'models:/m-1');
INSERT INTO registered_models VALUES ('churn', NULL);
INSERT INTO trace_tags VALUES ('mlflow.artifactLocation', '/T/mlruns/1/traces/t/artifacts', 't');
INSERT INTO trace_tags VALUES ('note', '/T/mlruns/1', 't');
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An old server's folder with a database and artifacts, under paths as the database has them."""
    folder = tmp_path / "old"
    (folder / "mlruns/1/r1/artifacts/model").mkdir(parents=True)
    (folder / "mlruns/1/r1/artifacts/model/weights").write_bytes(b"\0\1" * 1000)
    (folder / "mlruns/1/r1/artifacts/größe & co.txt").write_text("precious")
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        connection.executescript(SCHEMA.replace("/T/", f"{folder}/"))
        connection.commit()
    return folder


def old(tree: Path, **changed: Any) -> dict[str, Any]:
    return {
        "folder": str(tree),
        "artifacts": str(tree / "mlruns"),
        "served": str(tree / "mlartifacts"),
        "proxied": False,
        **changed,
    }


def moves_of(tree: Path, **changed: Any) -> places.Moves:
    with contents.reading(str(tree / "mlflow.db")) as connection:
        return places.moves(connection, old(tree, **changed))


def test_every_local_place_moves_and_no_other(tree: Path) -> None:
    found = moves_of(tree)
    assert found == [
        (str(tree / "mlartifacts"), ""),
        (str(tree / "mlruns"), ""),
        ("/elsewhere/own", "2"),
        ("/lost/r2/artifacts", "1/r2/artifacts"),
    ]
    copy = tree.parent / "copy.db"
    contents.take(str(tree / "mlflow.db"), str(copy))
    assert places.rename_all(str(copy), found, str(tree)) == 7
    with closing(sqlite3.connect(copy)) as connection:
        assert [row[0] for row in connection.execute("SELECT artifact_location FROM experiments")] == [
            "mlflow-artifacts:/0",
            "mlflow-artifacts:/1",
            "mlflow-artifacts:/2",
            "s3://b/p/3",
            "mlflow-artifacts:/4",
        ]
        assert [row[0] for row in connection.execute("SELECT artifact_uri FROM runs")] == [
            "mlflow-artifacts:/1/r1/artifacts",
            "mlflow-artifacts:/1/r2/artifacts",
        ]
        assert connection.execute("SELECT source, storage_location FROM model_versions").fetchone() == (
            "mlflow-artifacts:/1/r1/artifacts/model",
            "models:/m-1",
        )
        assert [row[0] for row in connection.execute("SELECT value FROM trace_tags")] == [
            "mlflow-artifacts:/1/traces/t/artifacts",
            f"{tree}/mlruns/1",
        ]
    assert contents.differences(str(tree / "mlflow.db"), str(copy)) == []


def test_a_place_whose_name_is_taken_gets_another(tree: Path) -> None:
    (tree / "mlruns/2").mkdir()
    assert ("/elsewhere/own", "adopted/2") in moves_of(tree)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM params",
        "UPDATE params SET value = '0.2'",
        "UPDATE runs SET status = 'FAILED' WHERE run_uuid = 'r2'",
        "INSERT INTO tags VALUES ('r1', 'a', 'b')",
        "UPDATE experiments SET name = 'x' WHERE experiment_id = 0",
        "UPDATE trace_tags SET value = 'x' WHERE key = 'note'",
    ],
)
def test_a_copy_that_lacks_anything_is_told(tree: Path, change: str) -> None:
    copy = str(tree.parent / "copy.db")
    contents.take(str(tree / "mlflow.db"), copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute(change)
        connection.commit()
    assert len(contents.differences(str(tree / "mlflow.db"), copy)) == 1


def test_a_migrated_copy_is_compared_by_what_every_schema_has(tree: Path) -> None:
    copy = str(tree.parent / "copy.db")
    contents.take(str(tree / "mlflow.db"), copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.executescript("UPDATE alembic_version SET version_num = 'def'; DROP TABLE trace_tags;")
        connection.executescript("ALTER TABLE runs ADD COLUMN more TEXT DEFAULT 'x';")
        assert contents.differences(str(tree / "mlflow.db"), copy) == []
        connection.executescript("DELETE FROM runs WHERE run_uuid = 'r1';")
    assert contents.differences(str(tree / "mlflow.db"), copy) == ["runs: 2 rows before, 1 after"]


KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode=" + sys.argv[2])
connection.execute("PRAGMA cache_size=1")
connection.execute("PRAGMA wal_autocheckpoint=0")
connection.execute("BEGIN")
connection.execute("INSERT INTO params VALUES ('r1', 'committed', 'yes')")
connection.execute("COMMIT")
connection.execute("BEGIN")
connection.executemany("INSERT INTO params VALUES ('r2', ?, 'no')", [(str(n) * 50,) for n in range(20000)])
os._exit(9)
"""


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_the_copy_of_a_killed_servers_database_is_whole_and_the_original_untouched(tree: Path, mode: str) -> None:
    database = tree / "mlflow.db"
    subprocess.run([sys.executable, "-c", KILLED, str(database), mode], check=False)
    assert (tree / f"mlflow.db-{'journal' if mode == 'delete' else 'wal'}").stat().st_size > 0
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tree.glob("mlflow.db*")}
    target = tree.parent / "copy.db"
    assert contents.take(str(database), str(target)) == hashlib.sha256(target.read_bytes()).hexdigest()
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tree.glob("mlflow.db*")} == before
    assert sorted(path.name for path in tree.parent.iterdir()) == ["copy.db", "old"]
    assert target.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(target)) as connection:
        assert [row[0] for row in connection.execute("SELECT key FROM params")] == ["rate", "committed"]


def test_a_file_that_is_no_database_is_told(tree: Path) -> None:
    (tree / "mlflow.db").write_text("no database" * 100)
    with pytest.raises(AgentError, match="cannot be read"):
        contents.take(str(tree / "mlflow.db"), str(tree.parent / "copy.db"))


def copied(tree: Path, target: Path, known: files.Manifest | None = None) -> files.Manifest:
    reader = getpass.getuser()
    moves = [(str(tree / "mlruns"), "")]
    return files.copy(moves, str(target), "", reader, known or {}, lambda line: None, lambda: False)


def test_files_are_copied_and_only_what_changed_is_copied_again(tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "ours"
    target.mkdir()
    first = copied(tree, target)
    text = target / "1/r1/artifacts/größe & co.txt"
    assert text.read_text() == "precious"
    assert sorted(first) == ["1/r1/artifacts/größe & co.txt", "1/r1/artifacts/model/weights"]
    inode = text.stat().st_ino
    (tree / "mlruns/1/r1/artifacts/model/weights").unlink()
    (tree / "mlruns/1/r1/artifacts/new").write_text("new")
    second = copied(tree, target, first)
    assert sorted(second) == ["1/r1/artifacts/größe & co.txt", "1/r1/artifacts/new"]
    assert text.stat().st_ino == inode
    assert not (target / "1/r1/artifacts/model/weights").exists()
    assert second["1/r1/artifacts/new"][1] == hashlib.sha256(b"new").hexdigest()


def test_a_link_within_is_followed_and_one_to_what_was_not_readable_is_refused(tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "ours"
    target.mkdir()
    folder = tree / "mlruns/1/r1/artifacts"
    (folder / "link").symlink_to("größe & co.txt")
    assert copied(tree, target)["1/r1/artifacts/link"][0] == len("precious")
    assert not (target / "1/r1/artifacts/link").is_symlink()
    if os.geteuid() != 0:
        pytest.skip("only root can read what others cannot")
    secret = tmp_path / "secret"
    secret.write_text("root's alone")
    secret.chmod(0o600)
    (folder / "link").unlink()
    (folder / "link").symlink_to(secret)
    moves = [(str(tree / "mlruns"), "")]
    with pytest.raises(AgentError, match="which nobody cannot read"):
        files.copy(moves, str(target), "", "nobody", {}, lambda line: None, lambda: False)


def test_links_in_a_circle_end(tree: Path) -> None:
    (tree / "mlruns/1/circle").symlink_to(tree / "mlruns")
    count, _ = files.size([(str(tree / "mlruns"), "")])
    assert count >= 2


def hashed(password: str) -> str:
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", 1000).hex()
    return f"pbkdf2:sha256:1000$salt${digest}"


@pytest.fixture
def login(tree: Path) -> dict[str, Any]:
    """An old server with users: its administrator's configured password still works."""
    with closing(sqlite3.connect(tree / "basic_auth.db")) as connection:
        connection.execute("CREATE TABLE users (username TEXT, password_hash TEXT, is_admin INTEGER)")
        rows = [("admin", hashed("configured-one"), 1), ("ada", hashed("hers"), 0)]
        connection.executemany("INSERT INTO users VALUES (?, ?, ?)", rows)
        connection.commit()
    (tree / "auth.ini").write_text("[mlflow]\nadmin_password = configured-one\n")
    auth = {"on": True, "database": str(tree / "basic_auth.db"), "config": str(tree / "auth.ini")}
    return {"auth": {**auth, "admin_username": "admin"}, "user": getpass.getuser()}


@pytest.mark.parametrize(
    ("given", "works", "problem"),
    [
        ("", "configured-one", ""),
        ("configured-one", "configured-one", ""),
        ("wrong", "configured-one", "the password given is not the one of admin on the old server"),
    ],
)
def test_the_password_that_works(login: dict[str, Any], given: str, works: str, problem: str) -> None:
    assert passwords.administrator(login, given, live=False) == {
        "username": "admin",
        "password": works,
        "problem": problem,
    }


def test_a_password_that_was_changed_must_be_given(login: dict[str, Any], tree: Path) -> None:
    (tree / "auth.ini").write_text("[mlflow]\nadmin_password = the-first-one\n")
    found = passwords.administrator(login, "", live=False)
    assert found["password"] == ""
    assert found["problem"].endswith("the one in its configuration was changed since")
    assert passwords.administrator(login, "configured-one", live=False)["problem"] == ""


def test_an_administrator_by_another_name_is_found(login: dict[str, Any], tree: Path) -> None:
    with closing(sqlite3.connect(tree / "basic_auth.db")) as connection:
        connection.execute("UPDATE users SET username = 'root' WHERE is_admin")
        connection.commit()
    assert passwords.administrator(login, "", live=False)["username"] == "root"
    with closing(sqlite3.connect(tree / "basic_auth.db")) as connection:
        connection.execute("UPDATE users SET is_admin = 0")
        connection.commit()
    assert passwords.administrator(login, "", live=False)["problem"] == "admin is no administrator there: nobody is"


def test_a_sample_is_spread_evenly() -> None:
    items = [str(number) for number in range(1000)]
    chosen = readable.spread(items, 10)
    assert chosen == ["0", "100", "200", "300", "400", "500", "600", "700", "800", "900"]
    assert readable.spread(items[:3], 10) == ["0", "1", "2"]


def test_the_deepest_folder_decides() -> None:
    known: places.Moves = [("/a", ""), ("/a/own", "2"), ("/a/owner", "3")]
    names = {uri: places.renamed(uri, known, "/a") for uri in ("/a/own/f", "/a/x", "own/f", "file:///a/owner", "/b/x")}
    assert names == {
        "/a/own/f": "mlflow-artifacts:/2/f",
        "/a/x": "mlflow-artifacts:/x",
        "own/f": "mlflow-artifacts:/2/f",
        "file:///a/owner": "mlflow-artifacts:/3",
        "/b/x": "/b/x",
    }
    for uri in (None, "", "models:/m-1", "runs:/r/x", "s3://b/p", "mlflow-artifacts:/1", "dbfs:/x", "gs://b"):
        assert places.renamed(uri, known, "/a") == uri


@pytest.mark.parametrize(
    ("environment", "rows", "expected"),
    [
        ({"MLFLOW_CRYPTO_KEK_PASSPHRASE": "it's $HOME's"}, 1, "it's $HOME's"),
        ({}, 1, "mlflow-default-kek-passphrase-for-development-only"),
        ({"MLFLOW_CRYPTO_KEK_PASSPHRASE": "theirs"}, 0, "ours"),
    ],
)
def test_stored_secrets_stay_readable(tmp_path: Path, environment: dict[str, str], rows: int, expected: str) -> None:
    """A database with secrets of the gateway is useless without the passphrase they were encrypted with."""
    base = tmp_path / "server"
    (base / "adopted").mkdir(parents=True)
    with closing(sqlite3.connect(base / "adopted/mlflow.db")) as connection:
        connection.execute("CREATE TABLE secrets (name TEXT)")
        connection.executemany("INSERT INTO secrets VALUES (?)", [("s",)] * rows)
        connection.commit()
    secrets = tmp_path / "secrets.env"
    secrets.write_text("FIRST=1\nMLFLOW_CRYPTO_KEK_PASSPHRASE=ours\nLAST=2\n")
    secrets.chmod(0o640)
    strings = [one.name for one in fields(AdoptedData) if one.name not in ("id", "old", "base", "secrets_env")]
    empty: dict[str, Any] = dict.fromkeys(strings, "")
    data = AdoptedData(id="x", old={}, base=str(base), secrets_env=str(secrets), **empty)
    migration.keep_passphrase(data, environment)
    script = f'. {secrets}; printf "%s|%s|%s" "$FIRST" "$LAST" "$MLFLOW_CRYPTO_KEK_PASSPHRASE"'
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == f"1|2|{expected}"
    assert secrets.stat().st_mode & 0o777 == 0o640
