"""`rollback`: where it goes, what it says that is lost, what is asked of the host, and what is kept here."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_provision.config import Backup, MLflow, load
from mlflow_provision.errors import ExitCode
from tests.unit.conftest import CommandLine
from tests.unit.upgrade_host import BACKUP, KEPT, NEW, OLD, UpgradeHost, entry

PLACE = Backup(destination="/var/backups/mlflow", schedule="off")


@pytest.fixture
def host(command_line: CommandLine) -> UpgradeHost:
    command_line.host = host = UpgradeHost(NEW)
    return host


def known(command_line: CommandLine, **fields: Any) -> Any:
    return command_line.known(mlflow=MLflow(version=NEW), **{"backup": PLACE, **fields})


class TestWhereTo:
    def test_the_one_before(self, command_line: CommandLine, host: UpgradeHost) -> None:
        path = known(command_line)
        host.look["history"].append(entry("20261101T100000Z", "3.9.0"))
        result = command_line.run("rollback", "--yes")
        assert result.exit_code == 0, result.output
        (asked,) = host.asked("rollback")
        assert asked["to"]["version"] == OLD and asked["entry"] == "20261120T100000Z"
        assert asked["from"] == {"version": NEW, "release": f"{NEW}-11111111"}
        assert asked["to"]["release"] == "/opt/mlflow/releases/3.10.1-11111111"  # as it was then
        assert load(path).mlflow.version == OLD

    def test_an_earlier_one(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        host.look["history"].append(entry("20261101T100000Z", "2.22.1", installed=False))
        assert command_line.run("rollback", "--to", "2.22.1", "-y").exit_code == 0
        (asked,) = host.asked("rollback")
        assert asked["entry"] == "20261101T100000Z" and asked["verify"]["guarded"] is False
        assert asked["to"]["release"].startswith("/opt/mlflow/releases/2.22.1-")
        assert not asked["to"]["release"].endswith("-11111111")  # it is gone, and is installed as today

    def test_never_to_what_was_rolled_back_already(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        undone = entry("20261121T100000Z", "3.16.1", target=False)
        host.look["history"].insert(0, undone)
        command_line.run("rollback", "-y")
        assert host.asked("rollback")[0]["to"]["version"] == OLD
        result = command_line.run("rollback", "--to", "3.16.1", "-y")
        assert result.exit_code == ExitCode.USAGE and "cannot go back to MLflow 3.16.1" in result.stderr
        assert "it can to 3.10.1" in result.stderr

    def test_there_is_nothing_to_go_back_to(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        host.look["history"] = []
        result = command_line.run("rollback", "-y")
        assert result.exit_code == ExitCode.FAILED and "has nothing to go back to" in result.stderr
        assert "mlflow-provision backup list server" in result.stderr

    def test_an_empty_version_is_a_slip(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        assert command_line.run("rollback", "--to", "", "-y").exit_code == ExitCode.USAGE


class TestWhatItLoses:
    def test_it_is_said_before_and_after(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        text = command_line.run("rollback", "-y").stdout
        for line in (
            "Go back with server on ubuntu@box",
            "  MLflow    3.17.2 → 3.10.1",
            "  Before    the upgrade to 3.17.2, 2 d ago",
            "  Data      as they were before that upgrade: MLflow never makes a schema older",
            "  Lost      2 experiments, 35 runs and 1 user made since then, 2 d ago, and what was changed",
            "  Users     as they were then; admin keeps today's password",
            "  Release   is still on the host",
            "  Backup    first, and read back, to /var/backups/mlflow",
            "            mlflow-provision upgrade server --to 3.17.2",
            f"            mlflow-provision restore {BACKUP} server",
        ):
            assert line in text.splitlines(), line
        assert KEPT in " ".join(text.split()) and "server runs MLflow 3.10.1 again and is verified" in text

    def test_nothing_where_the_schema_is_the_same(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        host.look["history"] = [entry(keeps_data=True, lost={})]
        host.data = "kept"
        text = command_line.run("rollback", "-y").stdout
        assert "so nothing is lost" in text and "Lost" not in text and "restore" not in text

    def test_an_old_one_is_not_safe(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        host.look["history"] = [entry(version="3.9.0")]
        assert "lets any web page that a user visits write" in command_line.run("rollback", "-y").stdout

    def test_where_the_backup_is_found_again(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line, backup=Backup())
        text = " ".join(command_line.run("rollback", "-y").stdout.split())
        assert f"restore {BACKUP} server --from /opt/mlflow/server/backup/upgrades-store" in text

    def test_a_dry_run_only_tells(self, command_line: CommandLine, host: UpgradeHost) -> None:
        path = known(command_line)
        document = command_line.json("rollback", "--dry-run")
        assert document["rollback_to"]["lost"]["runs"] == 35 and document["exit_code"] == 0
        assert not host.asked("rollback") and load(path).mlflow.version == NEW


class TestTheQuestion:
    @pytest.mark.usefixtures("person")
    @pytest.mark.parametrize(("answer", "done"), [("server\n", True), ("y\n", False), ("\n", False)])
    def test_the_name_is_typed_where_work_goes_away(
        self, command_line: CommandLine, host: UpgradeHost, answer: str, done: bool
    ) -> None:
        path = known(command_line)
        result = command_line.run("rollback", answers=answer)
        assert (result.exit_code == 0) is done and bool(host.asked("rollback")) is done
        assert load(path).mlflow.version == (OLD if done else NEW)

    @pytest.mark.usefixtures("person")
    def test_where_nothing_is_lost_a_yes_is_enough(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        host.look["history"] = [entry(keeps_data=True)]
        assert command_line.run("rollback", answers="y\n").exit_code == 0 and host.asked("rollback")

    def test_without_a_terminal_it_must_be_said(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        result = command_line.run("rollback")
        assert result.exit_code == ExitCode.USAGE and "mlflow-provision rollback --yes" in result.stderr
        assert not host.asked("rollback")


def test_one_that_was_interrupted_is_taken_back_and_no_more(command_line: CommandLine, host: UpgradeHost) -> None:
    """The way back of an upgrade that stands still half-way is not the way back of the one before."""
    path = known(command_line)
    host.changed_facts["upgrading"] = True
    host.changed_facts["applied"]["mlflow_version"] = OLD
    result = command_line.run("rollback", "-y")
    assert result.exit_code == 0 and "it runs MLflow 3.10.1 again" in result.stdout
    assert [data["action"] for verb, data in host.requests if verb == "upgrade"] == ["undo"]
    assert load(path).mlflow.version == OLD
