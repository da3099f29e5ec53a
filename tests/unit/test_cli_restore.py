"""`restore`: which backup, what a person reads before, what is asked of which host, and what is kept here."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.config import Artifacts, Backup, MLflow, Secrets, load, save_secrets, secrets_path
from mlflow_provision.errors import ExitCode, ProvisionError
from tests.unit.backup_host import NEWEST, OLDER, SAFETY, BackupHost, backup
from tests.unit.conftest import PASSWORD, CommandLine

PLACE = Backup(destination="/var/backups/mlflow")


@pytest.fixture
def host(command_line: CommandLine) -> BackupHost:
    command_line.host = BackupHost()
    return command_line.host


def restored(host: BackupHost) -> list[str]:
    """The ids that were restored."""
    return [data["id"] for data in host.asked("restore", "restore")]


class TestWhichOne:
    @pytest.mark.parametrize(
        ("words", "id"),
        [(["--latest"], NEWEST), (["latest"], NEWEST), ([OLDER], OLDER), (["server", "20261120"], OLDER)],
    )
    def test_as_typed(self, command_line: CommandLine, host: BackupHost, words: list[str], id: str) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("restore", *words, "--yes")
        assert result.exit_code == 0, result.output
        assert restored(host) == [id] and f"server is restored from {id} and verified" in result.stdout

    def test_the_latest_is_none_that_a_restore_made_before_it_began(
        self, command_line: CommandLine, host: BackupHost
    ) -> None:
        command_line.known(backup=PLACE)
        host.backups.insert(0, backup(SAFETY, 60, reason=f"before restoring {NEWEST}"))
        command_line.run("restore", "--latest", "-y")
        command_line.run("restore", SAFETY, "-y")
        assert restored(host) == [NEWEST, SAFETY]

    def test_both_are_too_many(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        assert command_line.run("restore", OLDER, "--latest", "-y").exit_code == ExitCode.USAGE

    @pytest.mark.usefixtures("person")
    @pytest.mark.parametrize("choice", ["2", "20261120", OLDER])
    def test_a_person_sees_them_and_chooses(self, command_line: CommandLine, host: BackupHost, choice: str) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("restore", answers=f"nonsense\n7\n{choice}\nserver\n")
        assert result.exit_code == 0, result.output
        assert "VERIFIED" in result.output and "there is no backup nonsense" in result.output
        assert restored(host) == [OLDER]

    @pytest.mark.usefixtures("person")
    def test_enter_takes_the_newest(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        host.backups.insert(0, backup(SAFETY, 60, reason=f"before restoring {NEWEST}"))
        result = command_line.run("restore", answers="\nserver\n")
        assert result.exit_code == 0 and f"Enter for {NEWEST}" in result.output
        assert restored(host) == [NEWEST]

    def test_without_a_terminal_it_must_be_said(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("restore", "-y")
        assert result.exit_code == ExitCode.USAGE and "mlflow-provision restore -y --latest" in result.stderr
        result = command_line.run("restore", "--latest")
        assert result.exit_code == ExitCode.USAGE and "mlflow-provision restore --latest --yes" in result.stderr
        assert not command_line.connections

    def test_there_is_none(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        host.backups = []
        result = command_line.run("restore", "--latest", "-y")
        assert result.exit_code == ExitCode.FAILED and "mlflow-provision backup server" in result.stderr

    def test_a_damaged_one_is_refused(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        host.backups[0] = backup(problem="its sum is wrong")
        assert "its sum is wrong" in command_line.run("restore", NEWEST, "-y").stderr
        assert not restored(host)


class TestSummary:
    @pytest.mark.usefixtures("person")
    def test_what_would_happen_is_shown_and_the_name_asked(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("restore", NEWEST, answers="server\n")
        assert result.exit_code == 0
        for line in (
            "Restore server on ubuntu@box",
            f"  Backup    {NEWEST}, 2 h 5 min old, MLflow 3.17.2, verified (1 h 1 min ago)",
            "  Content   3 experiments, 120 runs, 1 user, 17 artifacts (2.1 GB)",
            "  Replaced  /opt/mlflow/server/data/mlflow.db",
            "            /opt/mlflow/server/data/basic_auth.db",
            "  Newer     2 experiments, 35 runs and 1 user that would go away",
            "  Safety    what is there now is backed up first, to /var/backups/mlflow",
            f"  Way back  mlflow-provision restore {SAFETY} server",
        ):
            assert line in result.stdout.splitlines(), line

    @pytest.mark.usefixtures("person")
    @pytest.mark.parametrize("answer", ["\n", "y\n", "srever\n"])
    def test_anything_else_changes_nothing(self, command_line: CommandLine, host: BackupHost, answer: str) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("restore", NEWEST, answers=answer)
        assert result.exit_code == ExitCode.FAILED and "Nothing was changed." in result.stdout
        assert not restored(host) and "apply" not in host.verbs

    def test_what_else_there_is_to_know(self, command_line: CommandLine, host: BackupHost) -> None:
        artifacts = Artifacts(destination="s3://bucket/ml", region="us-west-1", credentials="instance-role")
        command_line.known(backup=PLACE, artifacts=artifacts)
        host.seen |= {"migrates": True, "keeps_users": True, "unfinished": {"id": OLDER, "phase": "switching"}}
        host.seen["now"]["problems"] = {"mlflow.db": "database disk image is malformed"}
        host.seen["newer"] = {"runs": 0, "experiments": 0, "users": 0, "since": 0}
        text = command_line.run("restore", "--latest", "-y").stdout
        assert "Newer     nothing" in text and "stay in s3://bucket/ml, untouched" in text
        assert "a copy is migrated" in text and f"the restore of {OLDER} was interrupted" in text
        assert "cannot be read: database disk image is malformed" in text and "kept as files" in text
        assert "stay as they are: this backup has none" in text

    def test_without_a_safety_backup(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("restore", "--latest", "-y", "--no-safety-backup", "--no-artifacts")
        assert "NONE: what is there now is not backed up first" in result.stdout and "Way back" not in result.stdout
        (asked,) = host.asked("restore", "restore")
        assert asked["safety"] is False and asked["artifacts"] is False

    def test_the_document(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        document = command_line.json("restore", "--latest", "-y")
        assert document["command"] == "restore" and document["restore"]["id"] == NEWEST
        assert document["compared"]["newer"]["runs"] == 35 and PASSWORD not in str(document)


def test_a_failure_ends_with_the_words_of_the_host(command_line: CommandLine, host: BackupHost) -> None:
    command_line.known(backup=PLACE)
    host.failing["restore restore"] = ProvisionError("it does not start\nNothing is lost: the old one runs", "mend it")
    result = command_line.run("restore", "--latest", "-y")
    assert result.exit_code == ExitCode.FAILED and "Nothing is lost: the old one runs" in result.stderr


@pytest.mark.parametrize("request_", ["backup list", "restore look"])
def test_what_is_refused_before_is_told(command_line: CommandLine, host: BackupHost, request_: str) -> None:
    command_line.known(backup=PLACE)
    host.failing[request_] = ProvisionError("ana is running `restore server`", "wait", ExitCode.LOCKED)
    result = command_line.run("restore", "--latest", "-y")
    assert result.exit_code == ExitCode.LOCKED and "ana is running" in result.stderr and not restored(host)


def test_the_password_must_be_known(command_line: CommandLine, host: BackupHost) -> None:
    secrets_path(command_line.known(backup=PLACE)).unlink()
    result = command_line.run("restore", "--latest", "-y")
    assert "MLFLOW_PROVISION_ADMIN_PASSWORD" in result.stderr and not restored(host)


def test_from_another_place(command_line: CommandLine, host: BackupHost) -> None:
    path = command_line.known(backup=PLACE)
    result = command_line.run("restore", "--latest", "-y", "--from", "/mnt/copy")
    assert result.exit_code == 0 and f"restore {SAFETY} server --from /mnt/copy\n" in result.stdout
    assert host.asked("restore", "restore")[0]["settings"]["place"]["destination"] == "/mnt/copy"
    assert load(path).backup == PLACE


class TestUndo:
    def test_it_takes_back(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("restore", "--undo", "-y")
        assert result.exit_code == 0 and f"The restore of {OLDER} is taken back" in result.stdout
        assert len(host.asked("restore", "undo")) == 1 and not restored(host)

    def test_it_stands_alone_and_asks(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        assert command_line.run("restore", "--undo", "--latest", "-y").exit_code == ExitCode.USAGE
        assert command_line.run("restore", "--undo").exit_code == ExitCode.USAGE
        assert not host.requests


class TestOntoAnotherHost:
    @pytest.fixture
    def blank(self, host: BackupHost) -> BackupHost:
        host.changed_facts |= {
            "applied": None,
            "admin_exists": False,
            "root": {"path": "/opt/mlflow", "state": "absent"},
        }
        host.pending = {"base", "service"}
        host.before_apply = lambda: host.changed_facts.update(applied={"mlflow_version": "3.17.2"})
        return host

    def test_a_blank_one_is_set_up_verified_and_restored(self, command_line: CommandLine, blank: BackupHost) -> None:
        path = command_line.known(backup=PLACE)
        result = command_line.run("restore", "--latest", "--to", "root@newbox", "-y")
        assert result.exit_code == 0, result.output
        assert [one.host for one in command_line.connections] == ["root@newbox"]
        assert blank.verbs == [
            "facts",
            "backup",
            "facts",
            "apply",
            "verify",
            "facts",
            "apply",
            "restore",
            "facts",
            "apply",
        ]
        assert load(path).host == "root@newbox" and 'says host = "root@newbox"' in result.stdout
        assert "Note: if ubuntu@box still runs" in result.stdout

    def test_the_first_look_needs_no_user_of_ours(self, command_line: CommandLine, blank: BackupHost) -> None:
        command_line.known(backup=PLACE)
        command_line.run("restore", "--latest", "--to", "root@newbox", "-y")
        settings = blank.asked("backup", "list")[0]["settings"]
        assert (settings["user"], settings["state"]) == ("", "")

    def test_no_timer_before_the_data_are_back(self, command_line: CommandLine, blank: BackupHost) -> None:
        command_line.known(backup=PLACE)
        command_line.run("restore", "--latest", "--to", "root@newbox", "-y")
        first, *_, last = (data["resources"] for verb, data in blank.requests if verb == "apply")
        assert "Timer" not in {one["kind"] for one in first} and "Timer" in {one["kind"] for one in last}

    def test_each_place_is_used_with_its_own_keys(
        self, command_line: CommandLine, blank: BackupHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The deployment file names two buckets with two profiles; the backup is in a third place."""
        path = command_line.known(
            artifacts=Artifacts(
                destination="s3://models/ml", credentials="profile", profile="models", region="us-east-1"
            ),
            backup=Backup(destination="s3://backups/b", credentials="profile", profile="backups", region="us-east-1"),
        )
        save_secrets(
            path,
            Secrets(
                admin_password=PASSWORD, backup_access_key_id="AKIATHIRDPLACE000000", backup_secret_access_key="secret"
            ),
        )
        profiles = tmp_path / "profiles"
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
        profiles.write_text(
            "".join(
                f"[{name}]\naws_access_key_id = key-of-{name}\naws_secret_access_key = s\n"
                for name in ("models", "backups")
            )
        )
        third = ("--from", "s3://third/b", "--aws-keys", "--region", "us-east-1")
        result = command_line.run("restore", "--latest", "--to", "root@newbox", *third, "-y")
        assert result.exit_code == 0, result.output
        applied = [data["resources"] for verb, data in blank.requests if verb == "apply"]
        keys = [
            {one["id"]: one["access_key_id"] for one in resources if one["kind"] == "StoreAccess"}
            for resources in (applied[0], applied[-1])
        ]
        assert keys == [{"store": "key-of-models", "backup-store": "key-of-backups"}] * 2
        for verb, action in (("backup", "list"), ("restore", "restore")):
            assert blank.asked(verb, action)[0]["settings"]["place"]["access_key_id"] == "AKIATHIRDPLACE000000"

    @pytest.mark.usefixtures("person")
    def test_no_is_no(self, command_line: CommandLine, blank: BackupHost) -> None:
        path = command_line.known(backup=PLACE)
        result = command_line.run("restore", "--latest", "--to", "root@newbox", answers="no\n")
        assert result.exit_code == ExitCode.FAILED and "apply" not in blank.verbs
        assert "Restore server onto root@newbox" in result.stdout and "without a server server" in result.stdout
        assert load(path).host == "ubuntu@box"

    def test_a_failure_leaves_the_deployment_where_it_is(self, command_line: CommandLine, blank: BackupHost) -> None:
        path = command_line.known(backup=PLACE)
        blank.failing["restore restore"] = ProvisionError("no")
        assert command_line.run("restore", "--latest", "--to", "root@newbox", "-y").exit_code == ExitCode.FAILED
        assert load(path).host == "ubuntu@box"

    def test_a_backup_of_a_newer_mlflow_is_set_up_with_that(self, command_line: CommandLine, blank: BackupHost) -> None:
        path = command_line.known(backup=PLACE, mlflow=MLflow(version="3.17.1"))
        result = command_line.run("restore", "--latest", "--to", "root@newbox", "-y")
        assert "MLflow 3.17.2, that of the backup" in result.stdout and load(path).mlflow.version == "3.17.2"

    def test_a_new_password_is_kept_before_anything_is_applied(
        self, command_line: CommandLine, blank: BackupHost
    ) -> None:
        secrets_path(command_line.known(backup=PLACE)).unlink()
        kept: list[str] = []
        before = blank.before_apply

        def look() -> None:
            kept.append(command_line.password("server"))
            before()

        blank.before_apply = look
        assert command_line.run("restore", "--latest", "--to", "root@newbox", "-y").exit_code == 0
        assert kept[0] and command_line.password("server") == kept[0]

    def test_a_stranger_that_people_use_is_refused(self, command_line: CommandLine, host: BackupHost) -> None:
        path = command_line.known(backup=PLACE)
        result = command_line.run("restore", "--latest", "--to", "root@newbox", "-y")
        assert (
            result.exit_code == ExitCode.USAGE and "already has a server server that people have used" in result.stderr
        )
        assert not restored(host) and load(path).host == "ubuntu@box"

    def test_one_that_an_interrupted_restore_has_set_up_is_gone_on_with(
        self, command_line: CommandLine, host: BackupHost
    ) -> None:
        path = command_line.known(backup=PLACE)
        host.seen["now"]["used"] = False
        assert command_line.run("restore", "--latest", "--to", "root@newbox", "-y").exit_code == 0
        assert restored(host) == [NEWEST] and load(path).host == "root@newbox"

    def test_the_same_host_is_no_other(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        assert command_line.run("restore", "--latest", "--to", "ubuntu@box", "-y").exit_code == 0
        assert restored(host) == [NEWEST]
