"""`status`: one deployment or all, on hosts that answer or do not."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from mlflow_provision import host as host_package
from mlflow_provision.config import Backup, Deployment, MLflow
from mlflow_provision.errors import ExitCode, ProvisionError
from tests.unit.conftest import CommandLine
from tests.unit.fake_host import FakeHost

GIB = 1 << 30
DISK = {
    "mount": "/",
    "holds": ["data"],
    "size": 100 * GIB,
    "free": 40 * GIB,
    "inodes_free": 0.9,
    "per_day": None,
    "days_left": None,
}


def applied(**changed: Any) -> dict[str, Any]:
    return {"mlflow_version": "3.17.2", "applied_at": "2026-01-01T00:00:00Z", "operator": "ana@laptop", **changed}


class TestOne:
    def test_for_people(self, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 1_800_000_000.0
        monkeypatch.setattr("time.time", lambda: now)
        command_line.known(backup=Backup("/srv/backups"))
        command_line.host.health["server"] = {
            "applied": applied(mlflow_version="3.17.1"),
            "newest": "3.17.2",
            "disks": [{**DISK, "per_day": GIB, "days_left": 40.0}],
            "database_size": 12_000_000,
            "runs": 1234,
            "runs_active": 3,
            "runs_deleted": 45,
            "experiments": 12,
            "backup": {"failed": None, "scheduled": True, "next": now + 3600.0, "made": None},
        }
        lines = command_line.run("status").stdout.splitlines()
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(now - 93784.0))
        assert lines[:13] == [
            "server is running and healthy",
            "  host      ubuntu@box",
            "  MLflow    3.17.1; the newest is 3.17.2",
            "  address   http://127.0.0.1:5000 on its host; from here: mlflow-provision tunnel server",
            f"  up for    1 d 2 h, since {since}",
            "  process   4711",
            "  memory    430 MB; 2.1 GB of the host's 4.3 GB are free",
            "  at boot   starts by itself",
            "  disk      42.9 GB of 107.4 GB free, full in 40 d at 1.1 GB a day",
            "  database  12 MB",
            "  runs      1,234 in 12 experiments, 3 of them active; 45 more are deleted",
            "  backup    none yet",
            "            the next one in 1 h",
        ]
        assert lines[13].startswith("  set up    ") and lines[13].endswith(" ago by ana@laptop")
        assert command_line.host.verbs == ["health"]

    def test_the_document(self, command_line: CommandLine) -> None:
        command_line.known()
        command_line.host.health["server"] = {"applied": applied(), "disks": [DISK]}
        document = command_line.json("status")
        status = document["status"]
        assert document["deployments"] == [status] and document["deployment"] == "server"
        assert (status["pid"], status["port"], status["mlflow_version"]) == (4711, 5000, "3.17.2")
        assert status["tunnel"] is None and status["certificate"] is None and status["disks"] == [DISK]
        assert status["url"] == "http://127.0.0.1:5000"

    def test_why_it_is_down(self, command_line: CommandLine) -> None:
        command_line.known()
        command_line.host.status |= {"running": False, "healthy": False, "problem": "OSError: disk full\nit gave up"}
        result = command_line.run("status")
        assert result.exit_code == ExitCode.FAILED
        assert result.stdout.splitlines()[:3] == [
            "server is not running",
            "  problem   OSError: disk full",
            "  problem   it gave up",
        ]

    def test_a_host_that_cannot_be_reached(self, command_line: CommandLine) -> None:
        command_line.known()
        error = ProvisionError("no route to box", "is it on?", ExitCode.UNREACHABLE)
        command_line.host.failing["health"] = error
        result = command_line.run("status")
        assert result.exit_code == ExitCode.UNREACHABLE and "no route to box" in result.stderr
        assert command_line.host.closed


class TestPending:
    """What the record of the last setup says, compared with the deployment file and with what is on the host."""

    def setup(self, command_line: CommandLine, **fields: Any) -> dict[str, Any]:
        """The record that a setup of this deployment leaves."""
        from mlflow_provision import blueprint
        from mlflow_provision.config import Secrets
        from tests.unit.fake_host import facts

        deployment = Deployment("server", "ubuntu@box", **fields)
        known = facts(root={"path": "/opt/mlflow", "state": "ours"})
        resources = blueprint.blueprint(deployment, Secrets(admin_password="x"), known)
        return dict(resources[-1].facts)  # type: ignore[attr-defined]

    def status(self, command_line: CommandLine, record: dict[str, Any], **fields: Any) -> dict[str, Any]:
        command_line.known(**fields)
        command_line.host.health["server"] = {"applied": record, "hashes": dict(record["hashes"])}
        status: dict[str, Any] = command_line.json("status")["status"]
        return status

    @pytest.mark.parametrize(
        "fields",
        [{}, {"backup": Backup("/srv/backups", encryption="passphrase")}, {"mlflow": MLflow(listen="0.0.0.0")}],
    )
    def test_nothing_after_a_setup(
        self, command_line: CommandLine, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        without = {key: value for key, value in fields.items() if key != "backup"}
        record = self.setup(command_line, **without)
        if "backup" in fields:  # a passphrase is not known here, and not needed
            plain = {"backup": Backup("/srv/backups", encryption="recipient", recipient="-")}
            record = self.setup(command_line, **plain)
            from mlflow_provision.blueprint.watching import _copy_of_the_file
            from mlflow_provision.layout import Layout

            layout = Layout(Deployment("server", "ubuntu@box", **fields), PurePosixPath("/opt/mlflow"))
            record["hashes"] |= _copy_of_the_file(layout)
        status = self.status(command_line, record, **fields)
        assert status["pending"] == [] and status["changed_on_host"] == []

    def test_another_port_and_a_setting_of_the_server(self, command_line: CommandLine) -> None:
        record = self.setup(command_line)
        status = self.status(command_line, record, mlflow=MLflow(port=5001))
        assert status["pending"] == ["port 5000 → 5001", "/opt/mlflow/server/etc/server.env"]
        assert status["url"] == "http://127.0.0.1:5000" and status["port"] == 5000  # until it is applied
        assert any("not applied yet: port 5000 → 5001" in text for text in status["warnings"])

    def test_backups_that_were_added(self, command_line: CommandLine) -> None:
        record = self.setup(command_line)
        status = self.status(command_line, record, backup=Backup("/srv/backups"))
        assert "/opt/mlflow/server/etc/deployment.toml" in status["pending"]
        assert "/etc/systemd/system/mlflow-server-backup.timer" in status["pending"]

    def test_a_file_that_somebody_edited_on_the_host(self, command_line: CommandLine) -> None:
        record = self.setup(command_line)
        command_line.known()
        found = {**record["hashes"], "/opt/mlflow/server/etc/server.env": "another", "/opt/mlflow/bin": ""}
        command_line.host.health["server"] = {"applied": record, "hashes": found}
        status = command_line.json("status")["status"]
        assert status["changed_on_host"] == ["/opt/mlflow/server/etc/server.env"] and status["pending"] == []

    @pytest.mark.parametrize("hashes", [[], ["/etc/x"], {"/etc/x": 5}, "text"])
    def test_a_record_that_somebody_has_spoilt_hides_nothing_else(self, command_line: CommandLine, hashes: Any) -> None:
        command_line.known(backup=Backup("/srv/backups"))
        told = {
            "applied": {"hashes": hashes, "port": 5000},
            "hashes": {},
            "disks": [DISK],
            "certificate": {"name": "x"},
        }
        command_line.host.health["server"] = told
        status = command_line.json("status")["status"]
        assert status["healthy"] and status["disks"] == [DISK] and "certificate" in status["unknown"]
        assert any("not known: certificate" in text for text in status["warnings"])


class TestSeveral:
    @pytest.fixture
    def hosts(self, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeHost]:
        """Two deployments on one host, one on another."""
        found = {"ubuntu@box": command_line.host, "ubuntu@far": FakeHost()}

        def connect(deployment: Deployment, *_: object) -> FakeHost:
            command_line.connections.append(deployment)
            return found[deployment.host]

        monkeypatch.setattr(host_package, "connect", connect)
        for name, host in (("prod", "ubuntu@box"), ("staging", "ubuntu@box"), ("far", "ubuntu@far")):
            command_line.known(name, host, backup=Backup("/srv/backups"))
        return found

    def test_every_host_is_asked_once(self, command_line: CommandLine, hosts: dict[str, FakeHost]) -> None:
        result = command_line.run("status")
        assert result.exit_code == 0, result.output
        assert hosts["ubuntu@box"].verbs == ["health"] == hosts["ubuntu@far"].verbs
        names = [request["name"] for request in hosts["ubuntu@box"].requests[0][1]["deployments"]]
        assert names == ["prod", "staging"] and len(command_line.connections) == 2
        lines = result.stdout.splitlines()
        assert lines[0].split()[:2] == ["NAME", "STATE"] and len(lines) == 4
        assert [line.split()[:2] for line in lines[1:]] == [
            ["far", "healthy"],
            ["prod", "healthy"],
            ["staging", "healthy"],
        ]

    def test_one_that_cannot_be_reached_hides_no_other(
        self, command_line: CommandLine, hosts: dict[str, FakeHost]
    ) -> None:
        hosts["ubuntu@far"].failing["health"] = ProvisionError("no route", "is it on?", ExitCode.UNREACHABLE)
        result = command_line.run("status")
        assert result.exit_code == ExitCode.UNREACHABLE
        assert "far: no route (is it on?)" in result.stdout and "prod     healthy" in result.stdout
        document = command_line.json("status")
        assert [one["reachable"] for one in document["deployments"]] == [False, True, True]
        assert document["deployments"][0]["error"]["hint"] == "is it on?" and "status" not in document

    def test_one_that_is_down_counts_more(self, command_line: CommandLine, hosts: dict[str, FakeHost]) -> None:
        hosts["ubuntu@far"].failing["health"] = ProvisionError("no route", "", ExitCode.UNREACHABLE)
        hosts["ubuntu@box"].health["staging"] = {"running": False, "healthy": False, "problem": "a\nlast words"}
        result = command_line.run("status")
        assert result.exit_code == ExitCode.FAILED
        assert "staging: it is not running: last words" in result.stdout

    def test_only_those_that_are_named(self, command_line: CommandLine, hosts: dict[str, FakeHost]) -> None:
        command_line.run("status", "staging", "prod", "staging")
        names = [request["name"] for request in hosts["ubuntu@box"].requests[0][1]["deployments"]]
        assert names == ["staging", "prod"] and not hosts["ubuntu@far"].requests

    def test_a_file_that_cannot_be_read(self, command_line: CommandLine, hosts: dict[str, FakeHost]) -> None:
        (command_line.folder / "broken.toml").write_text("name = ")
        result = command_line.run("status")
        assert result.exit_code == ExitCode.FAILED
        assert "broken   not seen" in result.stdout and "prod     healthy" in result.stdout

    def test_a_bug_on_one_host_hides_no_other(self, command_line: CommandLine, hosts: dict[str, FakeHost]) -> None:
        hosts["ubuntu@far"].changed_facts = {"hostname": object()}
        hosts["ubuntu@far"].health = None  # type: ignore[assignment]
        result = command_line.run("status")
        assert "far: unexpected" in result.stdout and "prod     healthy" in result.stdout

    def test_a_narrow_terminal_does_without_some_columns(self) -> None:
        from mlflow_provision.cli.status_table import _HEADER, fitting

        line = ["prod", "not healthy", "3 d", "3.16.1*", "412 MB", "16.2 GB, 34 d", "210 MB", "12,345", "5 h ago", "up"]
        assert fitting(_HEADER, [line], None) == (list(_HEADER), [line]) == fitting(_HEADER, [line], 200)
        header, (shown,) = fitting(_HEADER, [line], 80)
        assert "DATABASE" not in header and {"NAME", "STATE", "RUNS", "BACKUP"} <= set(header)
        assert "210 MB" not in shown and len(shown) == len(header)
        assert sum(max(map(len, pair)) + 2 for pair in zip(header, shown, strict=True)) <= 80
        assert fitting(_HEADER, [line], 20)[0] == ["NAME", "STATE", "MLFLOW", "DISK FREE", "BACKUP"]


class TestQuestions:
    def test_only_one_person_is_asked_one_thing_at_a_time(
        self, command_line: CommandLine, person: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mlflow_provision.cli.connection import connected_host
        from mlflow_provision.console import Console

        asking, open_ones, most = threading.Lock(), 0, 0

        def confirm(*_: object, **__: object) -> bool:
            nonlocal open_ones, most
            open_ones += 1
            most = max(most, open_ones)
            time.sleep(0.05)
            open_ones -= 1
            return True

        def connect(deployment: Deployment, ask: Any, accept: bool) -> FakeHost:
            assert ask.confirm_host_key("box", "ED25519", "SHA256:abc") is True
            return command_line.host

        monkeypatch.setattr("click.confirm", confirm)
        monkeypatch.setattr(host_package, "connect", connect)
        console = Console.of_command("status")
        arguments = (console, Deployment("server", "ubuntu@box"), False, asking)
        threads = [threading.Thread(target=connected_host, args=arguments) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 1


class TestWatch:
    def test_until_ctrl_c(self, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
        command_line.known()
        host = command_line.host
        looks: list[float] = []

        def sleep(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 1:  # away for a while
                host.failing["health"] = ProvisionError("link lost", "", ExitCode.UNREACHABLE)
            elif len(looks) == 2:
                host.failing.clear()
            else:
                raise KeyboardInterrupt

        monkeypatch.setattr("mlflow_provision.cli.status.time.sleep", sleep)
        result = command_line.run("status", "--watch", "--json")
        assert result.exit_code == ExitCode.INTERRUPTED and len(looks) == 3
        events = [json.loads(line) for line in result.stdout.splitlines()]
        assert [event["deployments"][0]["reachable"] for event in events] == [True, False, True, True]
        assert events[0]["event"] == "status" and events[-1]["exit_code"] == ExitCode.INTERRUPTED
        assert len(command_line.connections) == 2  # the lost one was made anew, the good one kept


class TestWarnings:
    def told(self, command_line: CommandLine, health: dict[str, Any], **fields: Any) -> str:
        command_line.known(**{"backup": Backup("/srv/backups"), **fields})
        command_line.host.health["server"] = health
        return "\n".join(command_line.json("status")["status"]["warnings"])

    def backup(self, **changed: Any) -> dict[str, Any]:
        made = {"at": time.time() - 3600, "stored_size": 1}
        return {
            "made": made,
            "verified": made,
            "failed": None,
            "scheduled": True,
            "next": time.time() + 60,
            **changed,
        }

    def test_none_on_a_healthy_server(self, command_line: CommandLine) -> None:
        assert self.told(command_line, {"disks": [DISK], "backup": self.backup()}) == ""

    @pytest.mark.parametrize(
        ("health", "words"),
        [
            ({"restarts": 3}, "crashed and was restarted 3 times"),
            ({"enabled": False}, "does not start at boot"),
            ({"unfinished": ["restore"]}, "a restore was interrupted half-way"),
            ({"unfinished": ["upgrade"]}, "an upgrade was interrupted half-way"),
            ({"disks": [{**DISK, "free": GIB // 2}]}, "the disk / is nearly full: 537 MB of 107.4 GB free"),
            ({"disks": [{**DISK, "per_day": 10 * GIB, "days_left": 4.0}]}, "full in 4 d at the current growth"),
            ({"disks": [{**DISK, "inodes_free": 0.01}]}, "no inodes"),
            ({"unknown": {"databases": "it is locked"}}, "not known: databases (it is locked)"),
        ],
    )
    def test_of_the_host(self, command_line: CommandLine, health: dict[str, Any], words: str) -> None:
        assert words in self.told(command_line, health)

    def test_of_backups(self, command_line: CommandLine) -> None:
        day = 86400.0
        old = {"at": time.time() - 3 * day, "stored_size": 1}
        failed = {"at": time.time() - 60, "what": "backup", "message": "denied\nmore", "hint": ""}
        assert "the last backup is 3 d old" in self.told(command_line, {"backup": self.backup(made=old)})
        assert "backup failed 1 min ago: denied" in self.told(command_line, {"backup": self.backup(failed=failed)})
        assert "ever verified" in self.told(command_line, {"backup": self.backup(made=old, verified=None)})
        older = {"at": time.time() - 15 * day}
        assert "verified backup is 15 d old" in self.told(command_line, {"backup": self.backup(verified=older)})
        assert "the timer" in self.told(command_line, {"backup": self.backup(next=None)})
        assert "there are no backups" in self.told(command_line, {}, backup=Backup())

    def test_of_clocks(self, command_line: CommandLine) -> None:
        command_line.host.changed_facts = {"time": time.time() - 3600}
        assert "the host's clock is 1 h behind" in self.told(command_line, {})

    def test_of_a_certificate(self, command_line: CommandLine) -> None:
        for days, words in ((10, "the certificate of ml.example.org ends in 9 d"), (-2, "ended 2 d"), (90, "")):
            served = {"name": "ml.example.org", "der": certificate(days)}
            told = self.told(command_line, {"certificate": served, "backup": self.backup()})
            assert words in told if words else told == ""


def certificate(days: int) -> str:
    """One that ends in so many days, as the agent sends it."""
    import base64
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ml.example.org")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode()


def test_completion_knows_every_name(command_line: CommandLine, tmp_path: Path) -> None:
    from mlflow_provision.cli.status import status_command

    command_line.known("prod")
    names = status_command.params[0].shell_complete(None, "p")  # type: ignore[arg-type]
    assert [item.value for item in names] == ["prod"]
