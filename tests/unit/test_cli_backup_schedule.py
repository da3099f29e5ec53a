"""`backup schedule`: what is shown, what is changed in the deployment file, and what is applied."""

from __future__ import annotations

import time

import pytest

from mlflow_provision.config import Backup, load, load_secrets
from mlflow_provision.errors import ExitCode
from tests.unit.backup_host import NEWEST, BackupHost
from tests.unit.conftest import CommandLine

PLACE = Backup(destination="/var/backups/mlflow")


@pytest.fixture
def host(command_line: CommandLine) -> BackupHost:
    command_line.host = BackupHost()
    now = time.time()
    command_line.host.status["backup"] = {
        "made": {"id": NEWEST, "at": now - 7500, "seconds": 12.0, "stored_size": 120_000_000, "reason": "by schedule"},
        "verified": {"id": NEWEST, "at": now - 7400, "level": "full"},
        "pruned": {"at": now - 7300, "removed": ["a", "b"]},
        "failed": None,
        "scheduled": True,
        "next": now + 5 * 3600 + 90,
    }
    return command_line.host


class TestShown:
    def test_schedule_next_and_last(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        lines = command_line.run("backup", "schedule").stdout.splitlines()
        assert lines == [
            "server is backed up daily to /var/backups/mlflow",
            f"  last       2 h 5 min ago: {NEWEST}, 120 MB in 12s, by schedule",
            f"  verified   2 h 3 min ago: {NEWEST}",
            "  pruned     2 h 1 min ago: 2 removed",
            "  next       in 5 h 1 min",
            "  verifies   weekly",
            "  keeps      the last 3, 7 daily, 4 weekly",
            "  encrypted  no",
            "  one now    mlflow-provision backup server",
        ]
        assert host.verbs == ["facts", "status"]

    def test_a_failure_comes_first(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        host.status["backup"] |= {
            "failed": {"at": time.time() - 60, "what": "backup", "message": "access denied", "hint": "mend the policy"},
            "next": None,
        }
        lines = command_line.run("backup", "schedule").stdout.splitlines()
        assert lines[1:3] == ["  failed     backup, 1 min ago: access denied", "             mend the policy"]
        assert "  next       not planned on the host: mlflow-provision setup server" in lines

    def test_the_document(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        schedule = command_line.json("backup", "schedule")["schedule"]
        assert schedule["schedule"] == "daily" and schedule["scheduled"] is True
        assert schedule["state"]["made"]["id"] == NEWEST

    def test_no_place_is_no_error_and_asks_no_host(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known()
        result = command_line.run("backup", "schedule")
        assert result.exit_code == 0 and not command_line.connections
        assert "mlflow-provision backup server --to operator:~/mlflow-backups" in result.stdout

    def test_by_hand_only(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=Backup(destination="operator:~/b", schedule="off"))
        text = command_line.run("backup", "schedule").stdout
        assert "when you say so, not by itself" in text and "next" not in text

    def test_without_root_a_line_for_cron(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known("local", "local", scope="user", backup=PLACE)
        result = command_line.run("backup", "schedule")
        assert "crontab -e" in result.stdout and result.stdout.splitlines()[-1].startswith(
            "45 2 * * * /opt/mlflow/local/"
        )

    def test_without_root_the_line_must_be_taken_out(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known("local", "local", scope="user", backup=PLACE)
        assert "take it out: `crontab -e`" in command_line.run("backup", "schedule", "--off", "-y").stdout


class TestSet:
    def test_the_file_is_changed_and_the_host_brought_up_to_date(
        self, command_line: CommandLine, host: BackupHost
    ) -> None:
        path = command_line.known()
        path.write_text(path.read_text() + "# mine\n")
        host.pending = {"backup-timer"}
        result = command_line.run(
            "backup", "schedule", "--every", "hourly", "--to", "/mnt/b", "--keep-monthly", "6", "-y"
        )
        assert result.exit_code == 0, result.output
        kept = load(path).backup
        assert (kept.schedule, kept.destination, kept.keep_monthly) == ("hourly", "/mnt/b", 6)
        assert "# mine\n" in path.read_text()
        assert "apply" in host.verbs and "server is backed up hourly to /mnt/b" in result.stdout

    def test_it_asks(self, command_line: CommandLine, host: BackupHost) -> None:
        path = command_line.known(backup=PLACE)
        host.pending = {"backup-timer"}
        result = command_line.run("backup", "schedule", "--off")
        assert result.exit_code == ExitCode.USAGE and "mlflow-provision backup schedule --off --yes" in result.stderr
        assert load(path).backup.schedule == "daily" and "apply" not in host.verbs

    def test_off(self, command_line: CommandLine, host: BackupHost) -> None:
        path = command_line.known(backup=PLACE)
        host.pending = {"backup-timer"}
        assert command_line.run("backup", "schedule", "--off", "-y").exit_code == 0
        assert load(path).backup.schedule == "off" and load(path).backup.destination == PLACE.destination

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--off", "--every", "daily"], "--off and --every exclude each other"),
            (["--every", "daily", "--to", "operator:~/b"], "--every: 'daily' cannot be: the host does not reach"),
            (["--keep-daily", "-1"], "--keep-daily:"),
            (["--to", "s3://bucket/b"], "--instance-role"),
            (["--keep-last=0", "--keep-daily=0", "--keep-weekly=0"], "then no backup would be kept"),
        ],
    )
    def test_nonsense(self, command_line: CommandLine, host: BackupHost, options: list[str], said: str) -> None:
        path = command_line.known(backup=PLACE)
        before = path.read_text()
        result = command_line.run("backup", "schedule", *options, "-y")
        assert result.exit_code == ExitCode.USAGE and said in result.stderr.replace('"', "'")
        assert path.read_text() == before and not host.requests

    def test_a_place_is_needed(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known()
        result = command_line.run("backup", "schedule", "--every", "daily", "-y")
        assert result.exit_code == ExitCode.USAGE and "has no place for backups yet" in result.stderr

    @pytest.mark.usefixtures("person")
    def test_a_passphrase_is_typed_twice_and_kept(self, command_line: CommandLine, host: BackupHost) -> None:
        path = command_line.known(backup=PLACE)
        answers = "short\nfour words and more\nanother one here\nfour words and more\nfour words and more\n"
        result = command_line.run("backup", "schedule", "--passphrase", "-y", answers=answers)
        assert result.exit_code == 0, result.output
        assert (
            load_secrets(path).backup_passphrase == "four words and more"
            and load(path).backup.encryption == "passphrase"
        )
        assert "use at least 12" in result.output and "four words and" not in result.output
        assert "encrypted  with a passphrase" in result.stdout

    def test_a_passphrase_needs_somebody(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("backup", "schedule", "--passphrase", "-y")
        assert result.exit_code == ExitCode.USAGE and "MLFLOW_PROVISION_BACKUP_PASSPHRASE" in result.stderr
