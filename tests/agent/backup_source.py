"""A deployment on this machine that can be backed up: databases, files, a virtual environment's metadata, artifacts."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mlflow_provision.agent.backup.listing import Listed, listed
from mlflow_provision.agent.backup.make import make
from mlflow_provision.agent.backup.settings import Encryption, Keep, Place, Settings, Source
from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.protocol import Event

TRACKING = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);
INSERT INTO alembic_version VALUES ('1b5f0d9ad7c1');
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT UNIQUE);
INSERT INTO experiments (name) VALUES ('Default'), ('bänke');
CREATE TABLE runs (run_uuid VARCHAR(32) PRIMARY KEY, experiment_id INTEGER, start_time BIGINT);
CREATE TABLE metrics (key TEXT, value FLOAT, step BIGINT, run_uuid VARCHAR(32), PRIMARY KEY (key, step, run_uuid));
"""
USERS = """
CREATE TABLE alembic_version_auth (version_num VARCHAR(32) NOT NULL);
INSERT INTO alembic_version_auth VALUES ('8606fa83a998');
CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT UNIQUE, password_hash TEXT, is_admin BOOLEAN);
INSERT INTO users (username, password_hash, is_admin) VALUES ('admin', 'hash', 1), ('ada', 'hash', 0);
"""


class BackupSource:
    """`settings` back it up into the folder `store`; `state` is where the host remembers what happened."""

    def __init__(self, folder: Path, runs: int = 50) -> None:
        self.data = folder / "data"
        self.etc = folder / "etc"
        self.venv = folder / "venv"
        self.artifacts = self.data / "artifacts"
        for made in (self.etc, self.artifacts, self.venv / "lib" / "python3.11" / "site-packages"):
            made.mkdir(parents=True)
        (self.venv / "lib" / "python3.11" / "site-packages" / "mlflow-3.17.2.dist-info").mkdir()
        (self.venv / "pyvenv.cfg").write_text("home = /usr/bin\nversion_info = 3.11.7\n")
        self.tracking, self.users = self.data / "mlflow.db", self.data / "basic_auth.db"
        database(self.tracking, TRACKING)
        database(self.users, USERS)
        self.add_runs(runs)
        for name in ("secrets.env", "server.env"):
            (self.etc / name).write_text(f"{name.upper()}=secret\n")
        self.settings = Settings(
            user="",
            state=str(folder / "state"),
            source=Source(
                deployment="server",
                databases={"mlflow.db": str(self.tracking), "basic_auth.db": str(self.users)},
                files={name: str(self.etc / name) for name in ("secrets.env", "server.env")},
                artifacts="",
                venv=str(self.venv),
            ),
            place=Place(str(folder / "store")),
            encryption=Encryption(),
            keep=Keep(),
            tool_version="0.9",
        )
        self.events: list[Event] = []

    @property
    def state(self) -> Path:
        return Path(self.settings.state)

    @property
    def store(self) -> FolderStore:
        return FolderStore(f"{self.settings.place.destination}/{self.settings.source.deployment}")

    def encrypted(self, encryption: Encryption) -> None:
        self.settings = replace(self.settings, encryption=encryption)

    def with_artifacts(self) -> None:
        self.settings = replace(self.settings, source=replace(self.settings.source, artifacts=str(self.artifacts)))

    def request(self, action: str, **more: Any) -> dict[str, Any]:
        """What a request about backups carries."""
        return {"action": action, "settings": asdict(self.settings), **more}

    def add_runs(self, count: int) -> None:
        with contextlib.closing(sqlite3.connect(self.tracking)) as connection:
            for _ in range(count):
                run = os.urandom(16).hex()
                connection.execute("INSERT INTO runs VALUES (?, 1, 1)", (run,))
                connection.executemany(
                    "INSERT INTO metrics VALUES (?, ?, ?, ?)", [(f"loss{n % 3}", n / 7, n, run) for n in range(100)]
                )
            connection.commit()

    def back_up(self, reason: str = "by hand", artifacts: bool = True) -> dict[str, Any]:
        backup: dict[str, Any] = make(self.settings, reason, artifacts, self.events.append, lambda: False)["backup"]
        return backup

    def listed(self) -> list[Listed]:
        return listed(self.store)

    def objects(self) -> set[str]:
        """The keys of all objects, and whatever else lies in the store."""
        root = Path(self.store.title)
        return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def database(path: Path, script: str, mode: str = "delete", page_size: int = 4096) -> None:
    """A new database, made by this script."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {page_size}")
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.executescript(script)
        connection.commit()
