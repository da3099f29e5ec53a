"""How the servers of a host fare, as the agent tells it: growth of disks, newest MLflow, databases, what is broken."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent import health, lock
from mlflow_provision.agent.backup.scheduled import note_room
from mlflow_provision.agent.health import certificate, counts, disks, files, growth, newest, notes
from mlflow_provision.agent.home import expanded
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import to_json
from tests.agent.agent_process import AgentProcess
from tests.agent.package_index import PackageIndex
from tests.agent.tiny_server import TinyServer

DAY, HOUR, GB = 86400.0, 3600.0, 10**9
NOW = 1_800_000_000.0


def sample(days_ago: float, free: int, mount: str = "/") -> growth.Sample:
    return {"at": NOW - days_ago * DAY, "free": {mount: free}}


def disk(free: int, size: int = 100 * GB) -> dict[str, Any]:
    return {"mount": "/", "free": free, "size": size}


class TestGrowth:
    @pytest.mark.parametrize(
        ("samples", "free", "per_day", "days"),
        [
            ([], 50 * GB, None, None),
            ([sample(0.9, 60 * GB)], 50 * GB, None, None),  # not a day yet
            ([sample(10, 60 * GB)], 50 * GB, GB, 50.0),
            ([sample(10, 50 * GB)], 50 * GB, 0, None),  # it does not grow
            ([sample(10, 49 * GB)], 50 * GB, -GB // 10, None),  # a little more is free: no disk that fills
            # Somebody has cleaned up five days ago: it grew by 1 GB a day before, and has done so since.
            ([sample(10, 30 * GB), sample(6, 26 * GB), sample(5, 55 * GB)], 50 * GB, GB, 50.0),
            # What comes and goes within a day is no trend.
            ([sample(2, 52 * GB), sample(1.02, 51 * GB), sample(0.1, 30 * GB)], 50 * GB, GB, 50.0),
            ([sample(-3, 1), sample(10, 60 * GB)], 50 * GB, GB, 50.0),  # the clock was wrong then
            ([sample(10, 90 * GB, "/srv")], 50 * GB, None, None),
        ],
    )
    def test_trend(self, samples: list[growth.Sample], free: int, per_day: int | None, days: float | None) -> None:
        found = growth.trend(samples, disk(free), NOW)
        assert (found["per_day"], found["days_left"]) == (per_day, days)

    def test_samples_are_hourly_and_kept_for_a_month(self) -> None:
        kept = growth.with_another([sample(40, 1), sample(29, 2), sample(0.02, 3)], {"/": 4}, NOW)
        assert [item["free"]["/"] for item in kept] == [2, 3, 4]
        assert growth.with_another(kept, {"/": 5}, NOW + 600) is kept
        assert len(growth.with_another(kept, {"/": 5}, NOW + 3601)) == 4

    def test_one_from_the_future_is_forgotten(self) -> None:
        assert [item["at"] for item in growth.with_another([sample(-1, 1)], {"/": 2}, NOW)] == [NOW]

    @pytest.mark.parametrize("text", ["", "{", "[1]", '[{"at": "x"}]', '{"samples": 5}', '[{"at": 1, "free": 1}]'])
    def test_what_is_no_sample_is_left_out(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "status.json").write_text(text)
        (tmp_path / growth.FILE).write_text(text)
        assert growth.read(str(tmp_path / growth.FILE)) == []
        found = notes.samples(str(tmp_path / "status.json"), [disk(5)], NOW)
        assert found == [{"at": NOW, "free": {"/": 5}}]
        assert notes.samples(str(tmp_path / "status.json"), [disk(5)], NOW + 60) == found

    def test_the_schedule_notes_it_too(self, tmp_path: Path) -> None:
        settings = {
            "state": str(tmp_path),
            "source": {"databases": {"mlflow.db": str(tmp_path / "data" / "mlflow.db")}, "artifacts": ""},
            "place": {"destination": "s3://bucket"},
        }
        note_room(settings)
        note_room(settings)
        found = growth.of_the_schedule("", {"state": str(tmp_path)})
        assert len(found) == 1 and list(found[0]["free"]) == [disks.mount_point(str(tmp_path))]

    def test_a_folder_that_cannot_be_written_stops_nothing(self, tmp_path: Path) -> None:
        growth.note(str(tmp_path / "none"), {"data": "/"}, NOW)


class TestDisks:
    def test_each_disk_once(self, tmp_path: Path) -> None:
        found = disks.disks({"data": str(tmp_path), "artifacts": str(tmp_path / "not" / "yet"), "shm": "/dev/shm"})
        assert [part["holds"] for part in found] == [["data", "artifacts"], ["shm"]]
        assert found[0]["free"] <= found[0]["size"] and found[1]["mount"] == "/dev/shm"
        assert found[0]["inodes_free"] is None or 0 < found[0]["inodes_free"] <= 1


class TestNewest:
    def ask(self, path: Path, url: str) -> str:
        question = newest.Question([(url, str(path))])
        question.ask()
        return question.answers()[str(path)]

    @pytest.fixture
    def index(self, package_index: PackageIndex) -> PackageIndex:
        for version in ("3.17.1", "3.17.2"):
            for project in ("mlflow", "mlflow-skinny", "mlflow-tracing"):
                package_index.add(project, f"{project.replace('-', '_')}-{version}-py3-none-any.whl")
        package_index.add("mlflow", "mlflow-3.18.0-py3-none-any.whl")  # half published
        return package_index

    def test_the_newest_that_installs(self, tmp_path: Path, index: PackageIndex) -> None:
        assert self.ask(tmp_path / "status.json", index.url) == "3.17.2"

    def test_it_is_asked_once_a_day(self, tmp_path: Path, index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "status.json"
        self.ask(path, index.url)
        asked = list(index.requests)
        assert self.ask(path, index.url) == "3.17.2" and index.requests == asked
        later = time.time() + 1.1 * DAY
        monkeypatch.setattr("mlflow_provision.agent.health.newest.time.time", lambda: later)
        self.ask(path, index.url)
        assert len(index.requests) == 2 * len(asked)

    def test_another_index_is_asked_at_once(self, tmp_path: Path, index: PackageIndex) -> None:
        path = tmp_path / "status.json"
        notes.keep_newest(str(path), {"index": "http://127.0.0.1:9", "version": "9", "asked": time.time()})
        assert self.ask(path, index.url) == "3.17.2"

    def test_one_that_cannot_be_reached_is_asked_again_in_an_hour(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "status.json"
        url = "http://127.0.0.1:9/simple"
        notes.keep_newest(str(path), {"index": url, "version": "3.17.1", "asked": time.time() - 2 * DAY})
        assert self.ask(path, url) == "3.17.1"  # the last one that was known
        known = notes.newest(str(path))
        assert known["failed"] is True
        assert not newest._due(known, url, time.time() + 1800) and newest._due(known, url, time.time() + 3601)

    def test_a_silent_one_is_not_waited_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(newest, "_PATIENCE", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            began = time.monotonic()
            assert self.ask(tmp_path / "status.json", f"http://127.0.0.1:{silent.getsockname()[1]}/simple") == ""
        assert time.monotonic() - began < 2

    def test_several_deployments_ask_once(self, tmp_path: Path, index: PackageIndex) -> None:
        paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
        question = newest.Question([(index.url, path) for path in paths])
        question.ask()
        assert question.answers() == dict.fromkeys(paths, "3.17.2")
        assert len(index.requests) == 3


class TestCounts:
    @pytest.fixture
    def database(self, tmp_path: Path) -> Path:
        path = tmp_path / "mlflow.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(
                "CREATE TABLE runs (run_uuid TEXT, lifecycle_stage TEXT, status TEXT);"
                "CREATE TABLE experiments (experiment_id INTEGER, lifecycle_stage TEXT);"
                "INSERT INTO runs VALUES ('a','active','RUNNING'),('b','active','FINISHED'),('c','deleted','RUNNING');"
                "INSERT INTO experiments VALUES (0,'active'),(1,'deleted');"
            )
        return path

    def test_runs_and_sizes(self, database: Path) -> None:
        found = counts.counted("", {"tracking": str(database), "auth": str(database.with_name("none"))})
        size = database.stat().st_size
        assert found == {"database_size": size, "runs": 2, "runs_active": 1, "runs_deleted": 1, "experiments": 1}
        assert [path.name for path in database.parent.iterdir()] == ["mlflow.db"]

    def test_one_that_is_locked_is_not_waited_for(self, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            with pytest.raises(AgentError, match="locked"):
                counts.counted("", {"tracking": str(database)})

    def test_one_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "mlflow.db").write_text("hello" * 1000)
        with pytest.raises(AgentError, match="not a database"):
            counts.counted("", {"tracking": str(tmp_path / "mlflow.db")})

    def test_none_at_all(self, tmp_path: Path) -> None:
        found = counts.counted("", {"tracking": str(tmp_path / "mlflow.db")})
        assert found["runs"] is None and found["database_size"] == 0


class TestFiles:
    def test_sums(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        (tmp_path / "link").symlink_to(tmp_path / "file")
        os.mkfifo(tmp_path / "pipe")
        names = [str(tmp_path / name) for name in ("file", "link", "pipe", "none")]
        found = list(files.sums(names).values())
        assert found[0].startswith("2d711642") and found[1:] == ["", "", ""]


class TestCertificate:
    @pytest.fixture
    def https(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
        """A server with a certificate on a port that is taken for 443; the certificate."""
        pem, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        request = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "9",
            "-subj",
            "/CN=ml.example.org",
        ]
        subprocess.run([*request, "-out", pem, "-keyout", key], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            monkeypatch.setattr(certificate, "_PORT", listening.getsockname()[1])

            def serve() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        with contextlib.suppress(ssl.SSLError):
                            context.wrap_socket(listening.accept()[0], server_side=True).close()

            threading.Thread(target=serve, daemon=True).start()
            yield ssl.PEM_cert_to_DER_cert(pem.read_text())

    def test_it_is_fetched_whatever_it_is_worth(self, https: bytes) -> None:
        found = certificate.served(["ml.example.org"])
        assert found is not None and found["name"] == "ml.example.org"
        assert base64.b64decode(found["der"]) == https

    def test_without_a_name_or_a_port_there_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(certificate, "_PORT", 1)
        assert certificate.served(["ml.example.org"]) is None and certificate.served([]) is None

    def test_what_does_not_speak_tls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            monkeypatch.setattr(certificate, "_PORT", listening.getsockname()[1])
            monkeypatch.setattr(certificate, "_PATIENCE", 0.3)
            assert certificate.served(["ml.example.org"]) is None


def request(server: TinyServer, name: str = "prod", **changed: Any) -> dict[str, Any]:
    """What `status` asks of one deployment, in the folder of its server."""
    base = str(server.folder)
    return {
        "name": name,
        "root": base,
        "record": f"{base}/deployment.json",
        "notes": f"{base}/status.json",
        "service": to_json(server.resource),
        "user": "",
        "databases": {"tracking": f"{base}/mlflow.db", "auth": f"{base}/basic_auth.db"},
        "folders": {"data": base},
        "backup": {},
        "guards": {"restore": f"{base}/restoring", "upgrade": f"{base}/upgrading"},
        "lock": f"{base}/lock",
        "index_url": "http://127.0.0.1:9/simple",
        "names": [],
        **changed,
    }


class TestVerb:
    @pytest.fixture
    def server(self, tmp_path: Path) -> TinyServer:
        return TinyServer(tmp_path / "server")

    def test_what_somebody_is_at_work_on_is_not_called_interrupted(self, server: TinyServer) -> None:
        (server.folder / "upgrading").touch()
        look = {"deployments": [request(server)]}
        told = []
        for alone in (lock.held(str(server.folder / "lock"), "ada", "upgrade prod"), contextlib.nullcontext()):
            with alone, AgentProcess("health", look) as agent:
                told.append(agent.answer().data["deployments"]["prod"]["unfinished"])
        assert told == [[], ["upgrade"]]

    def test_one_request_for_all_servers_of_a_host(self, tmp_path: Path, server: TinyServer) -> None:
        other = TinyServer(tmp_path / "other")
        (server.folder / "deployment.json").write_text(
            json.dumps({"hashes": {str(server.script): "0"}, "name": "prod"})
        )
        (server.folder / "restoring").touch()
        server.resource.start(lambda: False)
        try:
            with AgentProcess("health", {"deployments": [request(server), request(other, "staging")]}) as agent:
                told = agent.answer().data
        finally:
            server.resource.stop(lambda: False)
        prod, staging = told["deployments"]["prod"], told["deployments"]["staging"]
        assert prod["healthy"] is True and prod["unfinished"] == ["restore"] and prod["unknown"] == {}
        assert list(prod["hashes"]) == [str(server.script)] and len(prod["hashes"][str(server.script)]) == 64
        assert staging["running"] is False and staging["applied"] is None
        assert told["host"]["memory_free"] <= told["host"]["memory"] and told["host"]["hostname"]
        assert prod["disks"][0]["holds"] == ["data"] and prod["newest"] == ""

    @pytest.mark.parametrize(
        ("listen", "url"),
        [("0.0.0.0", "http://127.0.0.1:7"), ("::", "http://[::1]:7"), ("10.0.0.1", "http://10.0.0.1:7")],
    )
    def test_a_port_that_is_only_in_the_file_is_nobodys(self, server: TinyServer, listen: str, url: str) -> None:
        wanted = to_json(server.resource)
        assert health.service(wanted, {"listen": listen, "port": 7}).url == url
        assert health.service(wanted, {}) == server.resource

    def test_what_is_broken_hides_nothing_else(self, server: TinyServer, monkeypatch: pytest.MonkeyPatch) -> None:
        (server.folder / "mlflow.db").write_text("hello" * 1000)

        def crash(names: list[str]) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(certificate, "served", crash)
        answer = health.serve({"deployments": [request(server)]}, "", lambda event: None, lambda: False)
        told = answer["deployments"]["prod"]
        assert (
            set(told["unknown"]) == {"databases", "certificate"}
            and told["unknown"]["certificate"] == "ZeroDivisionError"
        )
        assert told["running"] is False and told["disks"]

    def test_a_user_that_is_not_there(self, server: TinyServer) -> None:
        (server.folder / "mlflow.db").touch()
        asked = request(server, user="mlflow-nobody-of-that-name")
        answer = health.serve({"deployments": [asked]}, "", lambda event: None, lambda: False)
        if os.geteuid() == 0:
            assert set(answer["deployments"]["prod"]["unknown"]) == {"databases"}

    def test_nothing_is_written_but_its_notes(self, server: TinyServer) -> None:
        before = {path.name for path in server.folder.iterdir()}
        health.serve({"deployments": [request(server)]}, "", lambda event: None, lambda: False)
        assert {path.name for path in server.folder.iterdir()} - before == {"status.json"}
        assert (server.folder / "status.json").stat().st_mode & 0o777 == 0o600

    def test_where_nothing_is_set_up_nothing_is_written(self, tmp_path: Path, server: TinyServer) -> None:
        base = str(tmp_path / "none")
        asked = request(server, notes=f"{base}/status.json", record=f"{base}/deployment.json", folders={"data": base})
        health.serve({"deployments": [asked]}, "", lambda event: None, lambda: False)
        assert not Path(base).exists()


def test_paths_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ana")
    asked = {"root": "~/mlflow", "list": ["~", "a~", 5, None], "more": {"x": "~/y", "z": "~ana/z"}}
    assert expanded(asked) == {
        "root": "/home/ana/mlflow",
        "list": ["/home/ana", "a~", 5, None],
        "more": {"x": "/home/ana/y", "z": "~ana/z"},
    }
