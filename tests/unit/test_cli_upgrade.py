"""`upgrade`: to which version, what a person reads before, what is asked of the host, and what is kept here."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mlflow_provision.config import Backup, MLflow, load
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import refusals
from mlflow_provision.host.where import Where
from mlflow_provision.upgrading import notes
from tests.unit.conftest import PASSWORD, CommandLine
from tests.unit.upgrade_host import AFTER, BACKUP, NEW, OLD, UpgradeHost

PLACE = Backup(destination="/var/backups/mlflow", schedule="off")
INDEX = {"error": "", "hint": "", "versions": ["3.18.1", "3.17.2", "3.12.0", "3.10.1"], "half_published": ["3.19.0"]}
OFFLINE = {"error": "this host cannot reach it", "hint": "let it", "versions": [], "half_published": []}

WHERE = Where("box", "ssh box", "ana")
KILLED = refusals.Ending(status=137, stderr="", stdout=(), lost=False, interrupted=False)


@pytest.fixture
def host(command_line: CommandLine) -> UpgradeHost:
    command_line.host = host = UpgradeHost()
    host.changed_facts["index"] = INDEX
    return host


def known(command_line: CommandLine, version: str = OLD, **fields: Any) -> Any:
    return command_line.known(mlflow=MLflow(version=version), **{"backup": PLACE, **fields})


def versions(host: UpgradeHost, action: str = "upgrade") -> list[str]:
    return [data["to"]["version"] for data in host.asked(action)]


class TestToWhichVersion:
    @pytest.mark.parametrize(
        ("words", "version"),
        [([], NEW), (["--to", "latest"], "3.18.1"), (["--to", "3.12.0"], "3.12.0"), (["--to", "3.17.2"], NEW)],
    )
    def test_as_typed(self, command_line: CommandLine, host: UpgradeHost, words: list[str], version: str) -> None:
        path = known(command_line)
        result = command_line.run("upgrade", *words, "--yes")
        assert result.exit_code == 0, result.output
        assert versions(host) == [version] == [load(path).mlflow.version]
        assert f"server runs MLflow {version} and is verified" in result.stdout

    def test_what_the_deployment_file_says_if_that_is_newer(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line, "3.12.0")
        assert command_line.run("upgrade", "server", "-y").exit_code == 0
        assert versions(host) == ["3.12.0"]

    @pytest.mark.parametrize(
        ("version", "message", "hint"),
        [
            ("3.9.0", "runs MLflow 3.10.1, which is newer than 3.9.0", "mlflow-provision rollback server"),
            ("3.19.0", "MLflow 3.19.0 is only half published", "--to 3.18.1"),
            ("3.71.2", "there is no MLflow 3.71.2", "--to latest"),
            ("newest", "--to: 'newest' is not a version", "--to VERSION"),
            ("", "--to: is empty", "leave out --to"),
        ],
    )
    def test_what_is_refused(
        self, command_line: CommandLine, host: UpgradeHost, version: str, message: str, hint: str
    ) -> None:
        path = known(command_line)
        result = command_line.run("upgrade", "--to", version, "-y")
        assert result.exit_code != 0 and message in result.stderr and hint in result.stderr
        assert "--mlflow-version" not in result.stderr
        assert not host.asked("upgrade") and load(path).mlflow.version == OLD

    def test_a_candidate_is_older_than_what_it_is_one_of(self, command_line: CommandLine, host: UpgradeHost) -> None:
        host.changed_facts["applied"]["mlflow_version"] = "3.18.0rc1"
        known(command_line, "3.18.0rc1")
        assert command_line.run("upgrade", "--to", "3.18.1", "-y").exit_code == 0

    @pytest.mark.parametrize("version", [NEW, "3.18.1"])
    def test_it_runs_that_already(self, command_line: CommandLine, host: UpgradeHost, version: str) -> None:
        """Also after an upgrade whose end nobody here saw: the deployment file then says what runs."""
        host.changed_facts["applied"]["mlflow_version"] = version
        path = known(command_line)
        result = command_line.run("upgrade")
        assert result.exit_code == 0 and f"server runs MLflow {version} already" in result.stdout
        assert ("The newest that installs is 3.18.1" in result.stdout) == (version == NEW)
        assert not host.asked("look") and load(path).mlflow.version == version

    def test_the_index_is_away(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        host.changed_facts["index"] = OFFLINE
        result = command_line.run("upgrade", "-y")
        assert result.exit_code == ExitCode.FAILED and "this host cannot reach it" in result.stderr
        assert "name one: --to 3.17.2" in command_line.run("upgrade", "--to", "latest", "-y").stderr
        host.look["target"]["installed"] = True  # then nobody needs it
        assert command_line.run("upgrade", "-y").exit_code == 0


class TestSummary:
    def test_what_would_happen_is_shown(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        host.pending = {"server.env", "start-script", "venv", "record"}
        result = command_line.run("upgrade", "-y", "--keep", "3")
        for line in (
            "Upgrade server on ubuntu@box",
            "  MLflow    3.10.1 → 3.17.2 (the newest that installs: 3.18.1)",
            "  Schema    aaa, ccc; what MLflow 3.17.2 has is seen when it is installed",
            "  Updates   resource server.env, resource start-script",
            "  Release   is installed beside the old one",
            "  Disk      up to 1.2 GB of the 40.0 GB that are free",
            "  Backup    first, and read back, to /var/backups/mlflow",
            "  Away for  a restart, and a copy and migration of 12 MB: --dry-run measures it",
            "  Way back  mlflow-provision rollback server, for each of the last 2 upgrades",
            "If anything fails, server runs on with MLflow 3.10.1 and what it has now.",
            f"  Backup    {BACKUP} in /var/backups/mlflow",
            "  Removed   3.9.0-00000000",
        ):
            assert line in result.stdout.splitlines(), line
        assert "changed migration  bbb" in result.stdout and "resource uv" not in result.stdout
        assert "3.11.1: the list of users can be asked for" in result.stdout and "+new" not in result.stdout
        (asked,) = host.asked("upgrade")
        assert asked["keep"] == 3 and asked["from"] == {"version": OLD, "release": "3.10.1-11111111"}

    def test_what_is_known_after_a_rehearsal(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        host.look["target"] = {"installed": True, "schema": AFTER}
        seconds = {"install": 20.0, "copy": 0.5, "migrate": 4.0, "compare": 0.5}
        host.look["rehearsed"] = {"at": time.time() - 7200, "seconds": seconds, "bytes": 12_000_000}
        text = command_line.run("upgrade", "-y").stdout
        assert "Schema    mlflow.db aaa → bbb" in text and "basic_auth.db ccc, as before" in text
        assert "about 13s, as rehearsed 2 h ago" in text and "is on the host already" in text
        host.look["size"] = 17_000_000  # with what SQLite has not written into the file yet
        assert "about 13s, as rehearsed" in command_line.run("upgrade", "-y", "--to", "3.12.0").stdout
        host.look["size"] = 900_000_000
        assert "--dry-run measures it" in command_line.run("upgrade", "-y", "--to", "3.18.1").stdout
        host.changed_facts["applied"]["mlflow_version"] = OLD
        host.look["schema"] = AFTER
        assert "stays the same: nothing to migrate" in command_line.run("upgrade", "-y").stdout

    def test_without_a_place_for_backups(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line, backup=Backup())
        text = command_line.run("upgrade", "-y").stdout
        assert "to /opt/mlflow/server/backup/upgrades-store on the host" in text
        assert host.asked("upgrade")[0]["settings"]["place"]["destination"].endswith("/upgrades-store")

    def test_the_last_three_backups_stay_in_that_folder(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line, backup=Backup())
        host.failing["backup"] = ProvisionError("a backup that cannot be deleted")  # is no failure of the upgrade
        assert command_line.run("upgrade", "-y").exit_code == 0
        (data,) = [data for verb, data in host.requests if verb == "backup"]
        assert data["action"] == "prune" and data["settings"]["keep"] == {
            "last": 3,
            "daily": 0,
            "weekly": 0,
            "monthly": 0,
        }

    def test_a_place_of_ones_own_is_left_to_its_rules(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        assert command_line.run("upgrade", "-y").exit_code == 0
        assert "backup" not in host.verbs

    def test_keeping_one_release_is_no_way_back(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        assert "Way back  none but the backup" in command_line.run("upgrade", "-y", "--keep", "1").stdout

    @pytest.mark.usefixtures("person")
    @pytest.mark.parametrize(("answer", "done"), [("y\n", True), ("\n", False), ("n\n", False)])
    def test_a_person_is_asked(self, command_line: CommandLine, host: UpgradeHost, answer: str, done: bool) -> None:
        path = known(command_line)
        result = command_line.run("upgrade", answers=answer)
        assert "Upgrade server to MLflow 3.17.2?" in result.output
        assert (result.exit_code == 0) is done and bool(host.asked("upgrade")) is done
        assert ("Nothing was changed." in result.stdout) is not done
        assert load(path).mlflow.version == (NEW if done else OLD)

    def test_without_a_terminal_it_must_be_said(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        result = command_line.run("upgrade")
        assert result.exit_code == ExitCode.USAGE and "mlflow-provision upgrade --yes" in result.stderr
        assert not host.asked("upgrade")

    def test_too_little_room(self, command_line: CommandLine, host: UpgradeHost) -> None:
        known(command_line)
        host.look["disk_free"] = 1_000_000_000
        result = command_line.run("upgrade", "-y")
        assert "1.0 GB free on the host is too little: 1.2 GB are needed" in result.stderr
        assert not host.asked("upgrade")


def test_a_dry_run_rehearses_and_changes_nothing(command_line: CommandLine, host: UpgradeHost) -> None:
    path = known(command_line)
    host.pending = {"server.env"}
    result = command_line.run("upgrade", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "The upgrade to MLflow 3.17.2 works on a copy of the databases (25s)." in result.stdout
    assert "Schema    mlflow.db aaa → bbb" in result.stdout and "+new" in result.stdout
    assert "To upgrade: mlflow-provision upgrade" in result.stdout
    assert versions(host, "rehearse") == [NEW] and not host.asked("upgrade")
    assert load(path).mlflow.version == OLD


def test_one_that_was_interrupted_is_taken_back_first(command_line: CommandLine, host: UpgradeHost) -> None:
    known(command_line)
    host.changed_facts["upgrading"] = True
    result = command_line.run("upgrade", "-y")
    assert result.exit_code == 0, result.output
    actions = [data["action"] for verb, data in host.requests if verb == "upgrade"]
    assert actions == ["undo", "look", "upgrade"]
    assert "The upgrade of server that was interrupted is taken back: it runs MLflow 3.10.1 again." in result.stdout


def test_a_failure_ends_with_the_words_of_the_host(command_line: CommandLine, host: UpgradeHost) -> None:
    path = known(command_line)
    error = "it does not start\nNothing is lost: the server runs again as before"
    host.failing["upgrade upgrade"] = ProvisionError(error, "choose another version: --mlflow-version VERSION")
    result = command_line.run("upgrade", "-y")
    assert result.exit_code == ExitCode.FAILED and error in result.stderr.replace("\n  ", "\n").replace(
        "\n       ", "\n"
    )
    assert "choose another version: --to VERSION" in result.stderr
    assert load(path).mlflow.version == OLD


def test_nothing_to_upgrade(command_line: CommandLine, host: UpgradeHost) -> None:
    known(command_line)
    host.changed_facts["applied"] = None
    assert "is not set up on ubuntu@box" in command_line.run("upgrade", "-y").stderr


def test_whoever_upgrades_must_be_able_to_log_in(command_line: CommandLine, host: UpgradeHost) -> None:
    known(command_line, password="")
    assert "the password of admin on server is not known" in command_line.run("upgrade", "-y").stderr


def test_a_file_that_says_another_place_for_artifacts(command_line: CommandLine, host: UpgradeHost) -> None:
    known(command_line)
    host.changed_facts["applied"]["artifacts"] = "/elsewhere"
    result = command_line.run("upgrade", "-y")
    assert "keeps its artifacts in /elsewhere" in result.stderr and not host.asked("upgrade")


def test_the_document(command_line: CommandLine, host: UpgradeHost) -> None:
    known(command_line)
    document = command_line.json("upgrade", "-y")
    assert document["ok"] and document["command"] == "upgrade" and document["deployment"] == "server"
    assert document["plan"]["from"] == OLD and document["plan"]["to"] == NEW and document["plan"]["newest"] == "3.18.1"
    assert document["upgrade"]["backup"] == BACKUP and PASSWORD not in str(document)
    assert command_line.json("upgrade")["plan"]["to"] == NEW  # the fake host still says it runs the old one


def test_what_people_notice_is_told_of_what_is_between() -> None:
    assert notes("3.17.1", "3.17.2") == []
    assert [note.split(":")[0] for note in notes("2.22.1", "3.12.0")] == ["3.5.1", "3.10.0", "3.11.1", "3.12.0"]
    assert [note.split(":")[0] for note in notes("3.12.0", "3.13.0")] == ["3.13.0", "3.13.0"]


@pytest.mark.parametrize("error", [refusals.lost(WHERE), refusals.ended_early(KILLED, WHERE)])
def test_who_hears_nothing_more_knows_what_becomes_of_it(
    command_line: CommandLine, host: UpgradeHost, error: ProvisionError
) -> None:
    known(command_line)
    host.failing["upgrade upgrade"] = error
    said = command_line.run("upgrade", "-y").stderr
    assert "the host goes back to what ran before" in " ".join(said.split()) and "continues" not in said


def test_one_that_was_stopped_begins_anew(command_line: CommandLine, host: UpgradeHost) -> None:
    known(command_line)
    error = ProvisionError("stopped\nNothing is lost: it runs again", "read more: journalctl", ExitCode.INTERRUPTED)
    host.failing["upgrade upgrade"] = error
    result = command_line.run("upgrade", "-y")
    assert result.exit_code == ExitCode.INTERRUPTED and "journalctl" not in result.stderr
    assert "it begins anew:" in result.stderr and "mlflow-provision upgrade -y" in result.stderr
