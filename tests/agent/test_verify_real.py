"""A verification of a real MLflow."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent import process_group, running
from mlflow_provision.agent.http import Client
from mlflow_provision.agent.protocol import Event, Result
from mlflow_provision.agent.verify import verify
from mlflow_provision.agent.verify.tracking import PREFIX
from tests.lab.server import free_port

PASSWORD = "correct horse battery"
NAME = "mlflow.example.com"


@dataclass
class Server:
    folder: Path
    port: int

    @property
    def pid_file(self) -> str:
        return str(self.folder / "server.pid")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def verify(self, **changes: Any) -> dict[str, Result]:
        events: list[Event] = []
        log = {"kind": "BackgroundProcess", "log": str(self.folder / "log"), "watched": [], "restart_on": []}
        empty = dict.fromkeys(("id", "script", "url", "started_with"), "")
        data = {
            "url": self.url,
            "listen": "127.0.0.1",
            "port": self.port,
            "username": "admin",
            "password": PASSWORD,
            "hosts": [f"localhost:{self.port}", f"{NAME}:{self.port}"],
            "origins": [f"http://localhost:{self.port}", f"http://{NAME}:{self.port}"],
            "service": {**log, **empty, "pid_file": self.pid_file},
            "databases": {name: str(self.folder / f"{name}.db") for name in ("tracking", "auth")},
        }
        verify({**data, **changes}, events.append)
        return {event.step: event for event in events if isinstance(event, Result)}

    def rows(self) -> dict[str, int]:
        """Rows of every table of both databases."""
        found = {}
        for name in ("tracking", "auth"):
            with closing(sqlite3.connect(self.folder / f"{name}.db")) as database:
                tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                for table in tables:
                    found[f"{name}.{table}"] = database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
        return found

    def artifacts(self) -> list[str]:
        return [str(path) for path in (self.folder / "artifacts").rglob("*")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mlflow_venv: Path) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("mlflow"), free_port("127.0.0.1"))
    settings = {
        "default_permission": "READ",
        "database_uri": f"sqlite:///{found.folder}/auth.db",
        "admin_username": "admin",
        "admin_password": PASSWORD,
        "auth_cache_ttl_seconds": "60",
    }
    lines = ["[mlflow]", *(f"{name} = {value}" for name, value in settings.items())]
    (found.folder / "auth.ini").write_text("\n".join(lines))
    (found.folder / "artifacts").mkdir()
    environment = {
        **os.environ,
        "MLFLOW_AUTH_CONFIG_PATH": str(found.folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key for this test",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{NAME},{NAME}:*,localhost,localhost:*,127.0.0.1,127.0.0.1:*",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"http://{NAME}:{found.port}",
    }
    argv = [str(mlflow_venv / "bin" / "python"), "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    argv += ["--port", str(found.port), "--backend-store-uri", f"sqlite:///{found.folder}/tracking.db"]
    argv += ["--artifacts-destination", str(found.folder / "artifacts")]
    with (found.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
        )
    process_group.remember(found.pid_file, process.pid)
    try:
        running.wait_healthy(found.url, lambda: "", lambda: process.poll() is not None, timeout=120)
        yield found
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def verdicts(found: dict[str, Result]) -> dict[str, str]:
    return {step: result.verdict for step, result in found.items() if step != "enabled"}


def test_a_new_server_is_left_as_it_was(server: Server) -> None:
    before = server.rows()
    found = server.verify()
    assert set(verdicts(found).values()) == {"ok"}, found
    assert found["cleanup"].summary == "removed experiment, run and artifact; no row is left in the databases"
    assert server.rows() == before
    assert server.artifacts() == []


def test_quick_is_quick_and_writes_nothing(server: Server) -> None:
    before = server.rows()
    started = time.monotonic()
    found = server.verify(level="quick")
    assert time.monotonic() - started < 0.3
    assert set(verdicts(found).values()) == {"ok"}
    assert server.rows() == before


def test_a_server_in_use_and_a_verification_that_was_killed(server: Server) -> None:
    client = Client(server.url, "admin", PASSWORD)
    theirs = client.call("POST", "/api/2.0/mlflow/experiments/create", data={"name": "theirs"}).json()["experiment_id"]
    client.call("POST", "/api/2.0/mlflow/runs/create", data={"experiment_id": theirs})
    client.call("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{theirs}/run/artifacts/model", body=b"precious")
    before = server.rows()
    left = {"name": PREFIX + "0" * 16}
    ours = client.call("POST", "/api/2.0/mlflow/experiments/create", data=left).json()["experiment_id"]
    run = client.call("POST", "/api/2.0/mlflow/runs/create", data={"experiment_id": ours}).json()["run"]["info"]
    client.call("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{ours}/{run['run_id']}/artifacts/x", body=b"ours")
    with closing(sqlite3.connect(server.folder / "tracking.db")) as database, database:
        database.execute(
            "UPDATE experiments SET creation_time = creation_time - 7200000 WHERE experiment_id = ?", (ours,)
        )
    found = server.verify()
    assert "1 left by interrupted verifications; no row is left" in found["cleanup"].summary
    assert server.rows() == before
    assert [path for path in server.artifacts() if path.endswith("model")]
    assert len(server.artifacts()) == 4  # the folders of theirs, and theirs


def test_the_store_cannot_be_written(server: Server) -> None:
    before = server.rows()
    artifacts = server.folder / "artifacts"
    artifacts.rename(server.folder / "elsewhere")
    artifacts.write_text("a file")
    try:
        found = server.verify()
    finally:
        artifacts.unlink()
        (server.folder / "elsewhere").rename(artifacts)
    assert [step for step, verdict in verdicts(found).items() if verdict == "failed"] == ["artifact-upload"]
    assert "NotADirectoryError" in found["artifact-upload"].summary
    assert server.rows() == before


def test_other_names_are_refused(server: Server) -> None:
    found = server.verify(level="quick", hosts=["other.example.com"], origins=["http://other.example.com"])
    assert [step for step, verdict in verdicts(found).items() if verdict == "failed"] == ["host", "origin"]
    assert "other.example.com" in found["host"].summary
    found = server.verify(level="quick", origins=[f"http://{NAME}:1"])
    assert "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS" in found["origin"].summary
