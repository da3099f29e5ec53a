"""`backup` and its commands: what is asked of the host, what a person and a program see, what is kept."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.cli import cli
from mlflow_provision.cli.backup import COMMANDS
from mlflow_provision.config import Artifacts, Backup, deployment_path, load, load_secrets, secrets_path
from mlflow_provision.errors import ExitCode, ProvisionError
from tests.unit.backup_host import NEWEST, OLDER, BackupHost, backup
from tests.unit.conftest import CommandLine

PLACE = Backup(destination="/var/backups/mlflow")


@pytest.fixture
def host(command_line: CommandLine) -> BackupHost:
    command_line.host = BackupHost()
    return command_line.host


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_fits(command_line: CommandLine, name: str) -> None:
    result = command_line.run("backup", name, "--help")
    assert result.exit_code == 0 and f"backup {name}" in result.stdout
    assert [line for line in result.stdout.splitlines() if len(line) > 80] == []
    assert COMMANDS[name][1].endswith(".") and len(COMMANDS[name][1]) <= 64


class TestNow:
    @pytest.mark.parametrize("words", [[], ["now"], ["server"], ["now", "server"]])
    def test_the_word_now_need_not_be_typed(
        self, command_line: CommandLine, host: BackupHost, words: list[str]
    ) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("backup", *words)
        assert result.exit_code == 0, result.output
        (asked,) = host.asked("backup", "make")
        assert asked["reason"] == "by hand" and asked["artifacts"] and asked["verify"]
        assert asked["settings"]["place"]["destination"] == "/var/backups/mlflow"
        assert "changed tracking database  120 MB  1.5s" in result.stdout
        assert "server is backed up, and it can be restored: 120 MB in /var/backups/mlflow" in result.stdout
        assert f"mlflow-provision restore {NEWEST} server" in result.stdout

    def test_the_document(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        document = command_line.json("backup", "--no-artifacts", "--no-verify")
        assert (document["command"], document["deployment"], document["ok"]) == ("backup now", "server", True)
        assert document["backup"]["id"] == NEWEST and document["steps"][-1]["title"] == "tracking database"
        (asked,) = host.asked("backup", "make")
        assert asked["artifacts"] is False and asked["verify"] is False

    def test_without_a_place_the_next_command_is_told(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known()
        result = command_line.run("backup")
        assert result.exit_code == ExitCode.USAGE and not command_line.connections
        assert "mlflow-provision backup server --to operator:~/mlflow-backups" in result.stderr

    def test_the_first_place_is_kept_and_no_timer_made(self, command_line: CommandLine, host: BackupHost) -> None:
        path = command_line.known()
        result = command_line.run("backup", "--to", "/var/backups/mlflow")
        assert result.exit_code == 0, result.output
        kept = load(path).backup
        assert (kept.destination, kept.schedule) == ("/var/backups/mlflow", "off")
        assert 'destination = ""  # ' in path.read_text()  # of the artifacts: nobody asked for a change of that
        assert "mlflow-provision backup schedule server --every daily" in result.stdout

    def test_another_place_is_for_once(self, command_line: CommandLine, host: BackupHost) -> None:
        path = command_line.known(backup=Backup(destination="/var/backups/mlflow"))
        assert command_line.run("backup", "--to", "/mnt/disk").exit_code == 0
        assert load(path).backup.destination == "/var/backups/mlflow"
        assert host.asked("backup", "make")[0]["settings"]["place"]["destination"] == "/mnt/disk"

    def test_a_failed_first_backup_keeps_no_place(self, command_line: CommandLine, host: BackupHost) -> None:
        path = command_line.known()
        host.failing["backup make"] = ProvisionError("the disk is full", "free some")
        result = command_line.run("backup", "--to", "/var/backups/mlflow")
        assert result.exit_code == ExitCode.FAILED and "the disk is full" in result.stderr
        assert not load(path).backup.destination

    @pytest.mark.usefixtures("person")
    def test_a_person_is_asked_for_the_place(self, command_line: CommandLine, host: BackupHost) -> None:
        path = command_line.known()
        result = command_line.run("backup", answers="nonsense\n/var/backups/mlflow\n")
        assert result.exit_code == 0, result.output
        assert "PLACE: 'nonsense'" in result.output or "nonsense" in result.output
        assert load(path).backup.destination == "/var/backups/mlflow"

    @pytest.mark.usefixtures("person")
    def test_ctrl_c_at_the_question(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known()
        result = command_line.run("backup", answers="")
        assert result.exit_code == ExitCode.INTERRUPTED and "nothing was changed" in result.stderr

    def test_artifacts_in_a_bucket_are_named(self, command_line: CommandLine, host: BackupHost) -> None:
        artifacts = Artifacts(destination="s3://bucket/ml", region="us-west-1", credentials="instance-role")
        command_line.known(backup=PLACE, artifacts=artifacts)
        assert "not the artifacts: these are in s3://bucket/ml" in command_line.run("backup").stdout

    def test_what_could_not_be_read_back_is_said(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        host.level = "sums"
        result = command_line.run("backup")
        assert "and is there as it was sent" in result.stdout
        assert f"mlflow-provision backup verify {NEWEST} server" in result.stdout

    def test_nothing_is_set_up_there(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        host.changed_facts["applied"] = None
        result = command_line.run("backup")
        assert result.exit_code == ExitCode.FAILED and "is not set up on ubuntu@box" in result.stderr

    def test_flags_of_a_bucket(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known()
        result = command_line.run("backup", "--to", "s3://bucket/b")
        assert result.exit_code == ExitCode.USAGE and "--instance-role" in result.stderr
        result = command_line.run("backup", "--to", "s3://bucket/b", "--instance-role", "--aws-keys")
        assert "--instance-role and --aws-keys exclude each other" in result.stderr
        result = command_line.run("backup", "--to", "s3://bucket/b", "--instance-role", "--region", "eu-west-1")
        assert result.exit_code == 0, result.output
        place = host.asked("backup", "make")[0]["settings"]["place"]
        assert (place["destination"], place["region"]) == ("s3://bucket/b", "eu-west-1")

    def test_another_bucket_is_reached_like_the_old_one_unless_said(
        self, command_line: CommandLine, host: BackupHost
    ) -> None:
        old = Backup("s3://bucket/b", region="eu-west-1", credentials="profile", profile="ana")
        command_line.known(backup=old)
        result = command_line.run("backup", "--to", "s3://bucket/c", "--instance-role")
        assert result.exit_code == 0, result.output
        place = host.asked("backup", "make")[0]["settings"]["place"]
        assert (place["destination"], place["region"], place["access_key_id"]) == ("s3://bucket/c", "eu-west-1", "")
        result = command_line.run("backup", "--to", "/mnt/b")
        assert result.exit_code == 0 and host.asked("backup", "make")[1]["settings"]["place"]["region"] == ""


def test_a_typing_error_is_no_deployment(command_line: CommandLine, host: BackupHost) -> None:
    command_line.known(backup=PLACE)
    assert "Did you mean 'list'?" in command_line.run("backup", "lst").stderr
    assert "there is no deployment 'prod'" in command_line.run("backup", "prod").stderr.replace('"', "'")
    command_line.known("lst", backup=PLACE)
    assert command_line.run("backup", "lst").exit_code == 0


class TestList:
    def test_a_table(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        host.backups.append(backup("20261101T031500Z-ffffff", problem="its sum is not that of its content"))
        lines = command_line.run("backup", "list").stdout.splitlines()
        assert lines[0].split() == ["ID", "AGE", "SIZE", "MLFLOW", "VERIFIED", "REASON"]
        assert lines[1].startswith(f"{NEWEST}  2 h 5 min") and "120 MB  3.17.2  1 h 1 min ago  by hand" in lines[1]
        assert lines[2].startswith(OLDER) and " no " in lines[2]
        assert "DAMAGED" in lines[3] and "its sum is not" in lines[3]

    def test_nothing_yet(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        host.backups = []
        result = command_line.run("backup", "list")
        assert result.exit_code == 0 and "mlflow-provision backup server" in result.stdout
        assert command_line.json("backup", "list")["backups"] == []

    def test_the_document(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        document = command_line.json("backup", "list", "server")
        assert document["command"] == "backup list"
        assert [one["id"] for one in document["backups"]] == [NEWEST, OLDER]

    def test_no_place(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known()
        assert "--to operator:" in command_line.run("backup", "list").stderr


class TestOnThisMachine:
    """Backups in `operator:~/folder`."""

    def test_a_list_asks_no_host(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=Backup(destination="operator:~/b", schedule="off"))
        result = command_line.run("backup", "list")
        assert result.exit_code == 0, result.output
        assert "There is no backup of server in operator:~/b yet" in result.stdout and not command_line.connections

    def test_what_the_host_asks_is_answered_from_the_folder_and_no_other(
        self, command_line: CommandLine, host: BackupHost, tmp_path: Path
    ) -> None:
        command_line.known(backup=Backup(destination=f"operator:{tmp_path}/b", schedule="off"))
        assert command_line.run("backup").exit_code == 0
        assert host.asked("backup", "make")[0]["settings"]["place"]["destination"] == f"operator:{tmp_path}/b"
        reply = host.replies[-1]
        assert reply
        assert reply("store", {"place": f"{tmp_path}/b", "op": "list", "prefix": "", "after": ""}) == {"entries": []}
        for place in (f"{tmp_path}", "/", None):
            with pytest.raises(AgentError, match="not offered"):
                reply("store", {"place": place, "op": "list", "prefix": "", "after": ""})

    def test_elsewhere_no_question_is_answered(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        command_line.run("backup")
        assert set(host.replies) == {None}

    def test_download(self, command_line: CommandLine, host: BackupHost, tmp_path: Path) -> None:
        command_line.known(backup=PLACE)
        target = tmp_path / "copies"
        document = command_line.json("backup", "download", "latest", str(target))
        assert document["downloaded"] == {
            "id": NEWEST,
            "folder": str(target / "server"),
            "bytes": 120_000_000,
            "place": f"operator:{target}",
        }
        (asked,) = host.asked("backup", "download")
        assert asked["to"] == {"destination": f"operator:{target}"} and host.replies[-1] is not None
        result = command_line.run("backup", "download", OLDER, str(target), "server")
        assert f"mlflow-provision restore {OLDER} server --from operator:{target}" in result.stdout

    def test_download_needs_an_id(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("backup", "download", "server", "/tmp/x")
        assert result.exit_code == ExitCode.USAGE and "server is not the ID of a backup" in result.stderr


class TestVerify:
    def test_the_newest(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("backup", "verify")
        assert result.exit_code == 0 and f"The backup {NEWEST} can be restored" in result.stdout
        assert host.asked("backup", "verify")[0]["id"] == NEWEST
        assert command_line.json("backup", "verify")["verified"]["level"] == "full"

    @pytest.mark.parametrize("words", [["20261120"], [OLDER, "server"], ["server", OLDER]])
    def test_a_beginning_will_do_and_the_order_is_free(
        self, command_line: CommandLine, host: BackupHost, words: list[str]
    ) -> None:
        command_line.known(backup=PLACE)
        assert command_line.run("backup", "verify", *words).exit_code == 0
        assert host.asked("backup", "verify")[0]["id"] == OLDER

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["2026"], "could be each of 2 backups"),
            (["1999"], "there is no backup 1999 of server"),
            (["1", "2"], "1 and 2 are two backups"),
            (["server", "other"], "two deployments"),
        ],
    )
    def test_which_one_is_not_clear(
        self, command_line: CommandLine, host: BackupHost, words: list[str], said: str
    ) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("backup", "verify", *words)
        assert result.exit_code == ExitCode.USAGE and said in result.stderr
        assert not host.asked("backup", "verify")

    def test_none_is_good(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        host.backups = [backup(problem="its sum is wrong")]
        assert f"{NEWEST}: its sum is wrong" in command_line.run("backup", "verify").stderr

    def test_one_that_was_found_damaged_is_looked_at_again(self, command_line: CommandLine, host: BackupHost) -> None:
        """What was wrong may have been put right since: the older version of an object is back."""
        command_line.known(backup=PLACE)
        host.backups = [backup(problem="its sum is wrong")]
        assert command_line.run("backup", "verify", NEWEST).exit_code == 0
        assert host.asked("backup", "verify")[0]["id"] == NEWEST


class TestPrune:
    def test_a_dry_run_shows_reasons(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("backup", "prune", "--dry-run")
        assert result.exit_code == 0 and [data["dry_run"] for data in host.asked("backup", "prune")] == [True]
        assert f"{NEWEST}  keep      last 3, daily 2026-11-21" in result.stdout
        assert f"{OLDER}  delete    no rule keeps it" in result.stdout
        assert "Nothing was deleted. To delete 1 backup: mlflow-provision backup prune\n" in result.stdout

    def test_yes(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("backup", "prune", "-y")
        assert result.exit_code == 0 and "1 backup deleted, 120 MB freed" in result.stdout
        assert command_line.json("backup", "prune", "-y")["prune"]["removed"] == [OLDER]

    def test_it_asks(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("backup", "prune")
        assert result.exit_code == ExitCode.USAGE and "mlflow-provision backup prune --yes" in result.stderr
        assert len(host.asked("backup", "prune")) == 1

    @pytest.mark.usefixtures("person")
    def test_no_is_no(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        result = command_line.run("backup", "prune", answers="n\n")
        assert result.exit_code == ExitCode.FAILED and "Nothing was deleted." in result.stdout
        assert [data["dry_run"] for data in host.asked("backup", "prune")] == [True]

    def test_all_stay(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=PLACE)
        host.decisions = host.decisions[:1]
        assert "1 backup, all to be kept." in command_line.run("backup", "prune").stdout


class TestKeygen:
    def test_both_halves_have_their_place(self, command_line: CommandLine) -> None:
        path = command_line.known(backup=PLACE)
        result = command_line.run("backup", "keygen")
        assert result.exit_code == 0, result.output
        kept, secrets = load(path).backup, load_secrets(path)
        assert kept.encryption == "recipient" and kept.recipient.startswith("age1") and kept.recipient in result.stdout
        assert secrets.backup_identity.startswith("AGE-SECRET-KEY-1") and secrets.admin_password
        assert secrets.backup_identity not in result.output
        assert "Keep a copy of the identity elsewhere" in result.stdout and not command_line.connections

    def test_a_second_key_is_refused(self, command_line: CommandLine) -> None:
        path = command_line.known(backup=PLACE)
        command_line.run("backup", "keygen")
        before = secrets_path(path).read_text(), path.read_text()
        result = command_line.run("backup", "keygen")
        assert result.exit_code == ExitCode.USAGE and "has a key already" in result.stderr
        assert (secrets_path(path).read_text(), path.read_text()) == before

    def test_it_needs_a_place(self, command_line: CommandLine) -> None:
        path = command_line.known()
        assert command_line.run("backup", "keygen").exit_code == ExitCode.USAGE
        assert command_line.run("backup", "keygen", "--to", "operator:~/b").exit_code == 0
        assert load(path).backup.destination == "operator:~/b"


class TestKeys:
    """What opens an encrypted backup."""

    @pytest.fixture
    def identity(self, command_line: CommandLine, host: BackupHost) -> str:
        path = command_line.known(backup=PLACE)
        command_line.run("backup", "keygen")
        secrets, deployment = load_secrets(path), load(path)
        host.backups = [backup(encryption={"recipient": deployment.backup.recipient, "kdf": {}})]
        return secrets.backup_identity

    def test_from_the_secrets_file(self, command_line: CommandLine, host: BackupHost, identity: str) -> None:
        assert command_line.run("backup", "verify").exit_code == 0
        assert host.asked("backup", "verify")[0]["identity"] == identity

    def test_from_the_environment(
        self, command_line: CommandLine, host: BackupHost, identity: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secrets_path(deployment_path("server")).unlink()
        monkeypatch.setenv("MLFLOW_PROVISION_BACKUP_IDENTITY", identity)
        command_line.run("backup", "verify")
        assert host.asked("backup", "verify")[0]["identity"] == identity

    def test_that_of_another_key_is_none(
        self, command_line: CommandLine, host: BackupHost, identity: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mlflow_provision.backup_keys import generate

        monkeypatch.setenv("MLFLOW_PROVISION_BACKUP_IDENTITY", generate()[0])
        command_line.run("backup", "verify")
        assert host.asked("backup", "verify")[0]["identity"] == ""
        assert "is not known on this machine" in command_line.run("restore", "--latest", "-y").stderr

    def test_nobody_knows_it(self, command_line: CommandLine, host: BackupHost, identity: str) -> None:
        secrets_path(deployment_path("server")).unlink()
        host.level = "sums"
        result = command_line.run("backup", "verify")
        assert result.exit_code == 0 and "its content was not looked at" in result.stdout
        assert host.asked("backup", "verify")[0]["identity"] == ""

    @pytest.mark.usefixtures("person")
    def test_a_person_types_it(
        self, command_line: CommandLine, host: BackupHost, identity: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secrets_path(deployment_path("server")).unlink()
        typed = iter(["wrong", identity])
        monkeypatch.setattr("click.prompt", lambda *_, **options: next(typed) if options["hide_input"] else "")
        result = command_line.run("backup", "verify")
        assert result.exit_code == 0 and "That is not the one." in result.stdout and identity not in result.output
        assert host.asked("backup", "verify")[0]["identity"] == identity

    @pytest.mark.usefixtures("person")
    def test_three_wrong_ones(
        self, command_line: CommandLine, host: BackupHost, identity: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secrets_path(deployment_path("server")).unlink()
        monkeypatch.setattr("click.prompt", lambda *_, **__: "wrong")
        result = command_line.run("restore", "--latest")
        assert result.exit_code == ExitCode.FAILED and not host.asked("restore", "restore")

    def test_who_only_reads_needs_no_passphrase(self, command_line: CommandLine, host: BackupHost) -> None:
        command_line.known(backup=Backup(destination="/var/backups/mlflow", encryption="passphrase"))
        for words in (["list"], ["verify"], ["prune", "--dry-run"], ["download", "latest", "/tmp/x"]):
            assert command_line.run("backup", *words).exit_code == 0, words
        result = command_line.run("backup")
        assert result.exit_code == ExitCode.USAGE and "MLFLOW_PROVISION_BACKUP_PASSPHRASE" in result.stderr
        assert not host.asked("backup", "make")

    @pytest.mark.usefixtures("person")
    def test_who_makes_one_types_it_twice(self, command_line: CommandLine, host: BackupHost) -> None:
        path = command_line.known(backup=Backup(destination="/var/backups/mlflow", encryption="passphrase"))
        answers = "four words and more\nfour wrods and more\nfour words and more\nfour words and more\n"
        result = command_line.run("backup", answers=answers)
        assert result.exit_code == 0, result.output
        assert host.asked("backup", "make")[0]["settings"]["encryption"]["recipient"].startswith("age1")
        assert not load_secrets(path).backup_passphrase

    def test_a_passphrase_opens_it(
        self, command_line: CommandLine, host: BackupHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mlflow_provision.backup_keys import from_passphrase, kdf_for, recipient_of

        command_line.known(backup=PLACE)
        kdf = kdf_for("s3://somewhere/else", "server") | {"log_n": 10}
        identity = from_passphrase("four words and more", kdf)
        host.backups = [backup(encryption={"recipient": recipient_of(identity), "kdf": kdf})]
        monkeypatch.setenv("MLFLOW_PROVISION_BACKUP_PASSPHRASE", "four words and more")
        command_line.run("backup", "verify")
        assert host.asked("backup", "verify")[0]["identity"] == identity
        assert "four words" not in str(host.requests)


class TestCompletion:
    def complete(self, *words: str) -> list[str]:
        from click.shell_completion import BashComplete

        *before, incomplete = words
        completion = BashComplete(cli, {}, "mlflow-provision", "_X")
        return [item.value for item in completion.get_completions(before, incomplete)]

    def test_commands_and_deployments(self, command_line: CommandLine) -> None:
        command_line.known("prod")
        assert {"now", "list", "prod"} <= set(self.complete("backup", ""))
        assert self.complete("backup", "pr") == ["prune", "prod"]
        assert self.complete("backup", "list", "p") == ["prod"]
        assert self.complete("backup", "verify", NEWEST, "p") == ["prod"]
        assert self.complete("restore", "p") == ["prod"]
        assert "--no-verify" in self.complete("backup", "--no")
        assert "--no-verify" in self.complete("backup", "prod", "--no")
        assert "--dry-run" in self.complete("backup", "prune", "--d")


def test_help_lists_every_command() -> None:
    group = cli.get_command(click.Context(cli), "backup")
    assert isinstance(group, click.Group)
    assert group.list_commands(click.Context(group)) == list(COMMANDS)
