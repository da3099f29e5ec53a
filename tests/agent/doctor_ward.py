"""A deployment in a temporary tree, well in every way, for a doctor's checks to look at and for tests to hurt."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow_provision.agent import doctor
from mlflow_provision.agent.doctor.examination import examine
from mlflow_provision.agent.protocol import Event

HEAD, OLDER = "aaaa2", "aaaa1"
PASSWORD = "correct horse battery"


def password_hash(password: str) -> str:
    digest = hashlib.scrypt(password.encode(), salt=b"salt", n=512, r=8, p=1, maxmem=1 << 26)
    return "scrypt:512:8:1$salt$" + digest.hex()


class Ward:
    """The deployment, in user scope unless a test gives it a unit. `data` is what a request says of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "server"
        self.etc, self.live = self.base / "etc", self.base / "data"
        self.artifacts, self.tmp = self.live / "artifacts", self.live / "tmp"
        self.release = root / "releases" / "3.17.2-x"
        self.kept = self.base / "backup"
        for folder in (self.etc, self.tmp, self.artifacts, self.release / "bin", self.kept / "state"):
            folder.mkdir(parents=True)
        for folder in (self.etc, self.live, self.kept, self.kept / "state", self.tmp, self.artifacts):
            folder.chmod(0o700)
        self._make_release()
        self._make_databases()
        self._make_files()
        self.events: list[Event] = []
        self.data = self._request()

    def look(self, *checks: str) -> dict[str, dict[str, Any]]:
        """The findings of these checks, by name; the last one where there are several of a check."""
        return {finding["check"]: finding for finding in self.findings(*checks)}

    def findings(self, *checks: str) -> list[dict[str, Any]]:
        self.data["only"] = list(checks)
        return examine(self.data, self.events.append, lambda: False)

    def one(self, check: str) -> dict[str, Any]:
        """The finding of one check."""
        return self.look(check)[check]

    def alone(self, check: str) -> dict[str, Any]:
        """The same, whatever it builds on says."""
        needs, saved = doctor.CHECKS[check].needs, doctor.CHECKS[check]
        doctor.CHECKS[check] = doctor.Check(saved.where, (), saved.seconds)
        try:
            return self.one(check)
        finally:
            doctor.CHECKS[check] = saved
            assert doctor.CHECKS[check].needs == needs

    def sql(self, database: str, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.live / database)) as connection:
            connection.execute(statement, values)
            connection.commit()

    def environment(self, **values: str) -> None:
        """What server.env gives the server, beside what it has."""
        with (self.etc / "server.env").open("a") as file:
            file.writelines(f"{name}='{value}'\n" for name, value in values.items())

    def on_s3(self, endpoint: str, credentials: str = "profile", profile: str = "default") -> None:
        """Artifacts are in a bucket, and the key for it is where the server finds it."""
        self.data["artifacts"] = {"destination": "s3://bucket/p", "credentials": credentials, "profile": profile}
        (self.etc / "aws").mkdir(mode=0o700)
        self.write_keys(f"[{profile}]\naws_access_key_id = AKID\naws_secret_access_key = SECRET-OF-AWS\n")
        self.environment(
            MLFLOW_ARTIFACTS_DESTINATION="s3://bucket/p",
            MLFLOW_S3_ENDPOINT_URL=endpoint,
            AWS_SHARED_CREDENTIALS_FILE=str(self.etc / "aws" / "credentials"),
            AWS_CONFIG_FILE=str(self.etc / "aws" / "config"),
            AWS_PROFILE=profile,
            AWS_DEFAULT_REGION="us-east-1",
        )

    def write_keys(self, text: str) -> None:
        path = self.etc / "aws" / "credentials"
        path.write_text(text)
        path.chmod(0o600)

    def write_job(self, content: dict[str, Any]) -> None:
        """What a scheduled backup does."""
        (self.etc / "backup.json").write_text(json.dumps(content))
        (self.etc / "backup.json").chmod(0o600)

    def log(self, *lines: str, age: float = 5.0) -> None:
        """The server has written these lines, so many seconds ago."""
        stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(time.time() - age))
        with (self.base / "server.log").open("a") as file:
            file.write(f"{stamp} INFO:     here\n" + "".join(line + "\n" for line in lines))

    def _make_release(self) -> None:
        site = self.release / "lib/python3.11/site-packages"
        for database, revisions in (
            ("store/db_migrations", {OLDER: None, HEAD: OLDER}),
            ("server/auth/db/migrations", {"u1": None}),
        ):
            versions = site / "mlflow" / database / "versions"
            versions.mkdir(parents=True)
            for revision, before in revisions.items():
                down = json.dumps(before) if before else None
                (versions / f"{revision}.py").write_text(f'revision = "{revision}"\ndown_revision = {down}\n')
        (site / "mlflow-3.17.2.dist-info").mkdir()
        self.program('{"python": "3.11.2", "missing": []}')
        self.stamp("mlflow-3.17.2")
        (self.base / "venv").symlink_to(self.release)

    def program(self, answer: str) -> None:
        """What the release's Python says."""
        python = self.release / "bin" / "python"
        python.write_text(f"#!/bin/sh\necho '{answer}'\n")
        python.chmod(0o755)

    def stamp(self, *packages: str) -> None:
        text = json.dumps({"python": sys.executable, "packages": packages})
        (self.release / "release.json").write_text(text)

    def _make_databases(self) -> None:
        with closing(sqlite3.connect(self.live / "mlflow.db")) as connection:
            connection.executescript(
                "CREATE TABLE alembic_version (version_num TEXT);"
                "CREATE TABLE experiments (experiment_id INTEGER, name TEXT, artifact_location TEXT);"
                "CREATE TABLE runs (run_uuid TEXT, artifact_uri TEXT);"
                "CREATE TABLE model_versions (name TEXT, source TEXT, storage_location TEXT);"
                "CREATE TABLE trace_tags (key TEXT, value TEXT);"
                "INSERT INTO experiments VALUES (1, 'a', 'mlflow-artifacts:/1');"
                "INSERT INTO runs VALUES ('r', 'mlflow-artifacts:/1/r/artifacts');"
                "INSERT INTO model_versions VALUES ('m', 'models:/m-1', NULL);"
                "INSERT INTO trace_tags VALUES ('mlflow.artifactLocation', 'mlflow-artifacts:/1/traces/t');"
                "INSERT INTO trace_tags VALUES ('other', 's3://not/a/place');"
            )
            connection.execute("INSERT INTO alembic_version VALUES (?)", (HEAD,))
            connection.commit()
        with closing(sqlite3.connect(self.live / "basic_auth.db")) as connection:
            connection.executescript(
                "CREATE TABLE alembic_version_auth (version_num TEXT);"
                "INSERT INTO alembic_version_auth VALUES ('u1');"
                "CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT, password_hash TEXT, is_admin INTEGER);"
            )
            query = "INSERT INTO users (username, password_hash, is_admin) VALUES (?, ?, ?)"
            connection.execute(query, ("admin", password_hash(PASSWORD), 1))
            connection.execute(query, ("bob", password_hash("something of bob's"), 0))
            connection.commit()
        for name in ("mlflow.db", "basic_auth.db"):
            (self.live / name).chmod(0o600)

    def _make_files(self) -> None:
        (self.base / "deployment.json").write_text("{}")
        script = self.base / "start_mlflow_server.sh"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
        for name, text in (
            ("secrets.env", "MLFLOW_FLASK_SERVER_SECRET_KEY=secret-of-flask\n"),
            (
                "server.env",
                f"MLFLOW_ARTIFACTS_DESTINATION={self.artifacts}\nMLFLOW_SERVER_ALLOWED_HOSTS='localhost,x'\n",
            ),
            ("basic_auth.ini", "[mlflow]\ndefault_permission = READ\n"),
        ):
            (self.etc / name).write_text(text)
            (self.etc / name).chmod(0o600)

    def _request(self) -> dict[str, Any]:
        return {
            "name": "server",
            "unit": "",
            "user": "",
            "service": {
                "kind": "BackgroundProcess",
                "id": "service",
                "script": str(self.base / "start_mlflow_server.sh"),
                "url": "http://127.0.0.1:1",
                "pid_file": str(self.base / "server.pid"),
                "log": str(self.base / "server.log"),
                "started_with": str(self.base / "started-with"),
                "watched": [],
                "restart_on": [],
            },
            "verify": {
                "url": "http://127.0.0.1:1",
                "listen": "127.0.0.1",
                "port": 1,
                "username": "admin",
                "password": PASSWORD,
                "hosts": ["localhost:1"],
                "origins": ["http://localhost:1"],
            },
            "names": [],
            "root": str(self.root),
            "base": str(self.base),
            "data": str(self.live),
            "etc": str(self.etc),
            "tmp": str(self.tmp),
            "kept": str(self.kept),
            "releases": str(self.root / "releases"),
            "venv": str(self.base / "venv"),
            "state": str(self.base / "deployment.json"),
            "host_lock": str(self.root / ".lock"),
            "written": [str(self.live)],
            "disks": [str(self.live), str(self.root)],
            "files": {
                "start_script": str(self.base / "start_mlflow_server.sh"),
                "secrets_env": str(self.etc / "secrets.env"),
                "server_env": str(self.etc / "server.env"),
                "auth_config": str(self.etc / "basic_auth.ini"),
                "aws_credentials": str(self.etc / "aws" / "credentials"),
                "aws_config": str(self.etc / "aws" / "config"),
                "backup_job": str(self.etc / "backup.json"),
                "agent": str(self.base / "agent.zip"),
                "unit_file": "",
                "log": str(self.base / "server.log"),
            },
            "databases": {name: str(self.live / name) for name in ("mlflow.db", "basic_auth.db")},
            "artifacts": {"destination": str(self.artifacts), "credentials": "", "profile": ""},
            "backup": {
                "destination": "",
                "folder": "",
                "with_operator": False,
                "scheduled": False,
                "schedule": "daily",
                "verify": "weekly",
                "append_only": False,
                "has_keys": False,
                "place": {},
                "state": str(self.kept / "state"),
                "timer": "",
            },
            "newest": "3.17.2",
        }

    def with_backups(self, **changes: Any) -> None:
        """Backups go into a folder."""
        place = self.root / "backups"
        place.mkdir(mode=0o700)
        self.data["backup"].update(destination=str(place), folder=str(place), scheduled=True, **changes)

    def noted(self, **what: Any) -> None:
        """What happened last to backups: seconds ago."""
        noted = {name: {"at": time.time() - age} for name, age in what.items() if not isinstance(age, dict)}
        noted.update({name: value for name, value in what.items() if isinstance(value, dict)})
        (self.kept / "state" / "last.json").write_text(json.dumps(noted))

    def is_as_old_as(self, seconds: float, *paths: Path) -> None:
        moment = time.time() - seconds
        for path in paths:
            os.utime(path, (moment, moment), follow_symlinks=False)
