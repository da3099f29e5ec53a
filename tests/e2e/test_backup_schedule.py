"""Backups without an operator: made, verified and pruned by a timer, as the service user, and told when they fail."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.e2e.backed_up import BASE, BUCKET, STATE, BackedUp, beside
from tests.e2e.buckets import keys_of
from tests.e2e.instance_metadata import instance_role, no_metadata
from tests.e2e.served import NAME, Served
from tests.e2e.waiting import until
from tests.lab import LabHost, RcloneS3

UNIT = f"mlflow-{NAME}-backup"
USER = f"mlflow-{NAME}"
JOB = f"{BASE}/etc/backup.json"
FOLDER = "/var/backups/nightly"
PASSPHRASE = "correct-horse-battery-staple"
HOUR = 3600.0
VERIFIED = "noted in the store: "
OF_THE_SCHEDULE = ["agent", "backup-job", "backup-unit", "backup-timer-unit", "backup-timer"]


@dataclass
class Pings:
    """Whom the host tells of its backups, and what was told."""

    told: list[str] = field(default_factory=list)

    def new(self) -> list[str]:
        """Since the last look."""
        found, self.told = self.told, []
        return found


@contextmanager
def pinged(host: LabHost) -> Iterator[tuple[str, Pings]]:
    """A URL that the host reaches, and what it was asked for."""
    pings = Pings()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pings.told.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((host.network.gateway, 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host.network.gateway}:{server.server_port}/ping", pings
        server.shutdown()


@dataclass
class Nightly:
    """A server that is backed up by schedule; what the timer starts is started by the test."""

    backed_up: BackedUp
    pings: Pings
    server: int  # the process that served when it all began

    @property
    def host(self) -> LabHost:
        return self.backed_up.host

    def starts(self, code: int = 0) -> str:
        """What stands in the journal of one run, which ends with this exit code."""
        self.pings.new()
        begun = self.host.run(["systemctl", "start", UNIT], check=False)
        shown = self.shown("Result", "ExecMainStatus", "InvocationID")
        assert shown["ExecMainStatus"] == str(code), (shown, self.journal(shown["InvocationID"]))
        assert (begun.returncode, shown["Result"]) == ((0, "success") if code == 0 else (1, "exit-code"))
        return self.journal(shown["InvocationID"])

    def shown(self, *properties: str, unit: str = UNIT) -> dict[str, str]:
        lines = self.host.run(["systemctl", "show", unit, f"--property={','.join(properties)}"]).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def journal(self, invocation: str) -> str:
        self.host.run(["journalctl", "--sync"])
        return self.host.run(["journalctl", "--no-pager", "-o", "cat", f"_SYSTEMD_INVOCATION_ID={invocation}"]).stdout

    def set(self, *options: str) -> list[str]:
        """Change the schedule; the steps that changed on the host."""
        changed = self.backed_up.operator.changed("backup", "schedule", NAME, "--yes", *options)
        assert self.backed_up.server() == self.server  # it is never restarted for that
        return changed

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.backed_up.operator.json("status", NAME)["status"]["backup"]
        return found

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.backed_up.operator.json("backup", "list", NAME)["backups"]
        return found

    def fails(self, *words: str) -> dict[str, Any]:
        """One run does, and everybody who can be told is. What `status` says of it."""
        before = self.status()["made"]
        told = self.starts(code=1)
        assert self.pings.new() == ["/ping/fail"]
        assert f"{UNIT}.service" in self.host.run(["systemctl", "--failed", "--no-legend"]).stdout
        status = self.status()
        failed: dict[str, Any] = status["failed"]
        assert f"backup failed: {failed['message']}" in told
        assert time.time() - failed["at"] < 60 and failed["what"] == "backup" and failed["hint"]
        assert [word for word in words if word not in failed["message"]] == [], failed
        assert status["made"] == before
        said = self.backed_up.operator.run("status", NAME).stdout  # the server is well: exit code 0
        assert re.search(r" backup failed \d+ s ago: " + re.escape(failed["message"]), said), said
        return failed

    def succeeds(self) -> str:
        told = self.starts()
        assert self.pings.new() == ["/ping"]
        assert self.status()["failed"] is None
        return told


@pytest.fixture(scope="module")
def nightly(set_up_once: Served, rclone_s3: RcloneS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nightly]:
    """A server that is there already gets backups by `setup`, into a folder on its host."""
    found = beside(set_up_once, rclone_s3, tmp_path_factory.mktemp("home") / "operator")
    with pinged(found.host) as (url, pings):
        found.operator.variables["MLFLOW_PROVISION_BACKUP_PING_URL"] = url
        served = Nightly(found, pings, found.server())
        found.host.path(f"{STATE}/last.json").unlink(missing_ok=True)  # others have backed this server up, too
        keep = ("--keep-last", "2", "--keep-daily", "0", "--keep-weekly", "0")
        changed = found.operator.changed("setup", NAME, "--yes", "--backups", FOLDER, *keep)
        assert set(OF_THE_SCHEDULE) <= set(changed)
        yield served
        found.operator.run("backup", "schedule", NAME, "--off", "--yes")
    found.host.run(["rm", "-rf", FOLDER])


def test_setup_installs_the_timer_and_a_second_one_changes_nothing(nightly: Nightly) -> None:
    timer = nightly.shown("UnitFileState", "ActiveState", "Persistent", unit=f"{UNIT}.timer")
    assert timer == {"UnitFileState": "enabled", "ActiveState": "active", "Persistent": "yes"}
    assert nightly.backed_up.operator.json("setup", NAME, "--yes")["changes"] == 0
    assert nightly.backed_up.server() == nightly.server
    status = nightly.status()
    assert status["scheduled"] is True and 0 < status["next"] - time.time() < 25.1 * HOUR


def test_it_backs_up_verifies_when_due_and_prunes(nightly: Nightly) -> None:
    assert VERIFIED in nightly.succeeds()
    (first,) = nightly.listed()
    assert (first["reason"], first["verified"]["level"]) == ("by schedule", "full")
    status = nightly.status()
    assert status["made"]["id"] == status["verified"]["id"] == first["id"]
    assert VERIFIED not in nightly.succeeds()  # it was verified this week
    due = nightly.host.path(f"{STATE}/last.json")
    noted = json.loads(due.read_text())
    noted["verified"]["at"] -= 8 * 24 * HOUR
    due.write_text(json.dumps(noted))
    assert VERIFIED in nightly.succeeds()
    third, second = nightly.listed()
    assert first["id"] not in (third["id"], second["id"])
    assert second["verified"] is None and third["verified"]["level"] == "full"
    assert nightly.status()["pruned"]["removed"] == [first["id"]]
    assert nightly.backed_up.litter(nightly.host.path(f"{FOLDER}/{NAME}")) == []


def test_it_is_the_service_user_and_can_do_nothing_else(nightly: Nightly) -> None:
    nightly.starts()
    user, group = (nightly.host.run(["id", which, USER]).stdout.strip() for which in ("-u", "-g"))
    run = nightly.shown("InvocationID")["InvocationID"]
    journal = nightly.host.run(["journalctl", "-o", "json", f"_SYSTEMD_INVOCATION_ID={run}"]).stdout.splitlines()
    lines = [json.loads(line) for line in journal]
    assert {(line["_UID"], line["_GID"], line["_CAP_EFFECTIVE"]) for line in lines} == {(user, group, "0")}
    for folder in (f"{FOLDER}/{NAME}", STATE):
        found = nightly.host.run(["find", folder, "-printf", "%u %m\n"]).stdout.split("\n")[:-1]
        assert set(found) == {f"{USER} 700", f"{USER} 600"}
    shown = nightly.shown("Nice", "CPUSchedulingPolicy", "IOSchedulingClass", "ReadWritePaths", "ProtectSystem")
    assert (shown["Nice"], shown["CPUSchedulingPolicy"], shown["IOSchedulingClass"]) == ("19", "5", "3")
    assert shown["ReadWritePaths"].split() == [f"{BASE}/data", STATE, f"-{FOLDER}/{NAME}"]
    analysed = nightly.host.run(["systemd-analyze", "security", UNIT, "--no-pager"]).stdout
    assert float(analysed.rpartition(f"{UNIT}.service: ")[2].split()[0]) < 2.0, analysed


def test_status_tells_the_last_the_last_verified_and_the_next(nightly: Nightly) -> None:
    nightly.starts()
    said = nightly.backed_up.operator.run("status", NAME).stdout
    assert " s ago, " in said and "last verified" in said and "the next one in " in said
    shown = nightly.backed_up.operator.run("backup", "schedule", NAME).stdout
    assert f"{NAME} is backed up daily to {FOLDER}" in shown and "the last 2" in shown


def test_while_another_is_at_work_it_steps_aside(nightly: Nightly) -> None:
    """And tells nobody of a success that there was none of."""
    held = "import sys, time; sys.path.insert(0, sys.argv[1]); from mlflow_provision.agent.lock import held\n"
    held += "with held(sys.argv[2], 'ada', 'backup'): print('held', flush=True); time.sleep(60)"
    program = ["python3", "-c", held, f"{BASE}/agent.zip", f"{STATE}/lock"]
    nightly.host.run(["systemd-run", "--quiet", "--unit=ada", f"--uid={USER}", *program])
    try:
        nightly.host.run(["sh", "-c", f"until grep -q ada {STATE}/lock; do sleep 0.05; done"], timeout=20)
        made = nightly.status()["made"]
        assert "skipped: ada is running `backup` on this host" in nightly.starts()
        assert nightly.pings.new() == []
        assert nightly.status()["made"] == made and nightly.status()["failed"] is None
    finally:
        nightly.host.run(["systemctl", "stop", "ada"])
    nightly.succeeds()


def test_what_was_missed_is_made_up_for(nightly: Nightly) -> None:
    """As after some days without power: systemd remembers in the time of a file when it started the last one."""
    timer = f"{UNIT}.timer"
    now = nightly.host.path(f"/etc/systemd/system/{timer}.d/now.conf")
    now.parent.mkdir()
    now.write_text("[Timer]\nRandomizedDelaySec=0\nAccuracySec=1us\n")
    made = nightly.status()["made"]
    try:
        nightly.host.run(["systemctl", "stop", timer])
        days_ago = time.time() - 3 * 24 * HOUR
        os.utime(nightly.host.path(f"/var/lib/systemd/timers/stamp-{timer}"), (days_ago, days_ago))
        nightly.host.run(["systemctl", "daemon-reload"])
        nightly.host.run(["systemctl", "start", timer])
        until(lambda: nightly.status()["made"] != made, within=30)
    finally:
        now.unlink()
        now.parent.rmdir()
        nightly.host.run(["systemctl", "daemon-reload"])
        nightly.host.run(["systemctl", "restart", timer])


def test_a_disk_from_another_host_is_handed_over(nightly: Nightly) -> None:
    """There the service user had another number. What to do is told, and setup does it."""
    nightly.starts()
    old = nightly.listed()[0]["id"]
    nightly.host.run(["chown", "-R", "4711:4711", f"{FOLDER}/{NAME}"])
    failed = nightly.fails(f"{FOLDER}/{NAME} belongs to user 4711")
    assert f"sudo chown -R {USER}: {FOLDER}/{NAME}" in failed["hint"]
    assert nightly.backed_up.operator.changed("setup", NAME, "--yes") == ["backup-folder", "record"]
    assert nightly.backed_up.server() == nightly.server
    nightly.succeeds()
    assert old in [backup["id"] for backup in nightly.listed()]
    assert nightly.backed_up.operator.json("backup", "verify", old, NAME)["ok"] is True


def test_into_a_store_that_stops_and_a_bucket_that_goes(nightly: Nightly, tmp_path: Path) -> None:
    """And that is called a success again when it is one."""
    with RcloneS3(tmp_path) as store:
        store.create_bucket(BUCKET)
        changed = nightly.set("--to", *nightly.backed_up.to("nightly", store.endpoint))
        assert {"backup-store", "backup-job", "backup-unit"} <= set(changed) and "service" not in changed
        nightly.succeeds()
        (made,) = nightly.listed()
        assert made["verified"]["level"] == "full"  # the one of this week was elsewhere
        for key in keys_of(store.client(), BUCKET):
            store.client().delete_object(Bucket=BUCKET, Key=key)
        store.client().delete_bucket(Bucket=BUCKET)
        nightly.fails(BUCKET)
        store.create_bucket(BUCKET)
        nightly.succeeds()
    nightly.fails(store.endpoint.rpartition("/")[2])


def test_with_the_role_of_the_instance_no_key_is_on_the_host(nightly: Nightly) -> None:
    endpoint = nightly.backed_up.s3.endpoint
    place = (f"s3://{BUCKET}/role", "--instance-role", "--endpoint-url", endpoint, "--region", "us-east-1")
    with instance_role(nightly.host, nightly.backed_up.s3.keys) as metadata:
        nightly.set("--to", *place)
        nightly.succeeds()
        assert len(metadata.asked_by) >= 2  # for the proof, and for the backup
        assert len(nightly.listed()) == 1
        job = nightly.host.path(JOB).read_text()
        assert nightly.backed_up.s3.secret not in job and metadata.session_token not in job
    with no_metadata(nightly.host):
        nightly.fails("role")


def test_encrypted_the_host_cannot_open_what_it_writes(nightly: Nightly) -> None:
    """It compares sums; that it can be restored, who has the passphrase finds out."""
    nightly.backed_up.operator.variables["MLFLOW_PROVISION_BACKUP_PASSPHRASE"] = PASSPHRASE
    place = nightly.backed_up.to("sealed")
    nightly.backed_up.operator.run("setup", NAME, "--yes", "--backup-encryption", "passphrase")
    nightly.set("--to", *place)
    assert VERIFIED in nightly.succeeds()
    (made,) = nightly.listed()
    assert made["verified"]["level"] == "sums" and made["encryption"]["kdf"]
    stored = [path for path in nightly.backed_up.folder("sealed").rglob("*") if path.is_file()]
    assert {path.suffix for path in stored} == {".age", ".json"}
    assert nightly.backed_up.operator.json("backup", "verify", NAME)["ok"] is True
    assert nightly.listed()[0]["verified"]["level"] == "full"


def test_off_leaves_nothing_but_the_backups(nightly: Nightly) -> None:
    made = nightly.listed()
    assert sorted(nightly.set("--off")) == sorted([*OF_THE_SCHEDULE[:2], "backup-timer", "record", "deployment.toml"])
    found = nightly.host.run(["find", "/etc", "/var", "/opt", "-name", f"*{UNIT}*", "-o", "-name", "agent.zip"]).stdout
    assert found == ""
    assert not nightly.host.path(JOB).exists()
    assert UNIT not in nightly.host.run(["systemctl", "list-units", "--all", "--no-legend"]).stdout
    status = nightly.status()
    assert status["scheduled"] is False and status["next"] is None and status["made"]["id"] == made[0]["id"]
    assert nightly.listed() == made
    assert set(nightly.set("--every", "hourly")) >= set(OF_THE_SCHEDULE)
    assert 0 < nightly.status()["next"] - time.time() < 1.1 * HOUR
