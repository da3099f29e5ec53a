"""`rotate` and its commands: the new secret everywhere, or the old one as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.cli.rotate import COMMANDS
from mlflow_provision.config import Artifacts, Backup, Secrets, deployment_path, load_secrets, save_secrets
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.rotation import aws
from tests.unit.aws_account import PROFILE, account, client
from tests.unit.conftest import PASSWORD, CommandLine
from tests.unit.users_host import UsersHost

KEYS = Artifacts(destination="s3://team/ml", region="us-west-1", credentials="keys")
OLD = ("AKIAOLDOLDOLDOLDOLD1", "CANARY/old/secret")
NEW = ("AKIANEWNEWNEWNEWNEW2", "CANARY/new/secret")
VARIABLES = ("MLFLOW_PROVISION_NEW_AWS_ACCESS_KEY_ID", "MLFLOW_PROVISION_NEW_AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def host(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> UsersHost:
    for variable in (*VARIABLES, "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_IAM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(aws, "PAUSE", 0.01)
    monkeypatch.setattr(aws, "PATIENCE", 0.05)
    command_line.host = UsersHost()
    command_line.host.failing["store"] = ProvisionError("the store does not know this key")
    return command_line.host


def keys_of(name: str = "server") -> tuple[str, str]:
    secrets = load_secrets(deployment_path(name))
    return secrets.aws_access_key_id, secrets.aws_secret_access_key


def known(command_line: CommandLine, name: str = "server", **fields: Any) -> Path:
    path = command_line.known(name, **{"artifacts": KEYS, **fields})
    save_secrets(path, Secrets(PASSWORD, *OLD, backup_access_key_id=OLD[0], backup_secret_access_key=OLD[1]))
    return path


@pytest.fixture
def given(host: UsersHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new key is in the environment."""
    for variable, value in zip(VARIABLES, NEW, strict=True):
        monkeypatch.setenv(variable, value)


def applied(host: UsersHost) -> list[str]:
    """The content of the credentials file, each time something was applied."""
    found = []
    for data in host.asked("apply"):
        contents = {one["id"]: one.get("content", "") for one in data["resources"]}
        found.append(contents["aws-credentials"])
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_fits(command_line: CommandLine, name: str) -> None:
    result = command_line.run("rotate", name, "--help")
    assert result.exit_code == 0 and f"rotate {name}" in result.stdout
    assert [line for line in result.stdout.splitlines() if len(line) > 80] == []
    assert COMMANDS[name][1].endswith(".") and len(COMMANDS[name][1]) <= 64


class TestPassword:
    def test_it_is_generated_kept_and_not_shown(self, command_line: CommandLine, host: UsersHost) -> None:
        command_line.known()
        result = command_line.run("rotate", "password", "-q")
        (asked,) = host.asked("users", "password")
        assert result.exit_code == 0 and result.output == ""
        assert command_line.password("server") == asked["password"] != PASSWORD
        assert asked["what"] == "rotate password server"
        document = command_line.json("rotate", "password")
        assert document["rotated"]["username"] == "admin" and "CANARY" not in json.dumps(document)

    def test_programs_are_told_of_the_variable_that_has_the_old_one(
        self, command_line: CommandLine, host: UsersHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        command_line.known()
        monkeypatch.setenv("MLFLOW_PROVISION_ADMIN_PASSWORD", PASSWORD)
        (note,) = command_line.json("rotate", "password")["notes"]
        assert note.startswith("MLFLOW_PROVISION_ADMIN_PASSWORD is set here")


class TestSecret:
    def test_it_asks(self, command_line: CommandLine, host: UsersHost) -> None:
        command_line.known()
        result = command_line.run("rotate", "secret")
        assert result.exit_code == ExitCode.USAGE and not host.asked("rotate")
        assert "mlflow-provision rotate secret --yes" in result.stderr

    def test_the_host_does_it(self, command_line: CommandLine, host: UsersHost) -> None:
        command_line.known()
        result = command_line.run("rotate", "secret", "--yes")
        (asked,) = host.asked("rotate")
        assert asked["names"] == ["MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_CRYPTO_KEK_PASSPHRASE"]
        assert asked["what"] == "rotate secret server" and asked["lock"] and asked["verify"]["kill"] is False
        assert "2 keys of the AI gateway: locked with the new passphrase" in result.stdout

    def test_without_the_password_it_looks_less_closely(self, command_line: CommandLine, host: UsersHost) -> None:
        command_line.known(password="")
        assert command_line.run("rotate", "secret", "--yes").exit_code == 0
        assert host.asked("rotate")[0]["verify"]["level"] == "quick"

    def test_what_could_not_be_opened_is_told(self, command_line: CommandLine, host: UsersHost) -> None:
        command_line.known()
        host.answer = {"names": [], "keys": 0, "unreadable": ["openai"], "restarted": True}
        assert "openai. Enter them anew" in command_line.run("rotate", "secret", "--yes").stdout


class TestAws:
    @pytest.mark.usefixtures("given")
    def test_tried_then_everywhere_then_kept(self, command_line: CommandLine, host: UsersHost) -> None:
        known(command_line)
        result = command_line.run("rotate", "aws", "--yes")
        assert result.exit_code == 0, result.output
        assert [host.verbs.index(verb) for verb in ("store", "apply", "verify")] == sorted(
            host.verbs.index(verb) for verb in ("store", "apply", "verify")
        )
        assert NEW[1] in applied(host)[-1] and OLD[1] not in applied(host)[-1]
        assert keys_of() == NEW and "CANARY" not in result.output
        assert f"The old key, {OLD[0]}, still works" in result.stdout and "--status Inactive" in result.stdout
        assert command_line.files() == {"server.toml", "server.secrets.toml"}

    @pytest.mark.usefixtures("given")
    def test_one_that_the_store_refuses_changes_nothing(self, command_line: CommandLine, host: UsersHost) -> None:
        known(command_line)
        host.refused_keys = {NEW[0]}
        result = command_line.run("rotate", "aws", "--yes")
        assert result.exit_code == ExitCode.FAILED and "The old key is in use as before." in result.stderr
        assert keys_of() == OLD and not host.asked("apply") and len(command_line.files()) == 2

    @pytest.mark.usefixtures("given")
    def test_a_server_that_does_not_work_with_it_gets_the_old_one_back(
        self, command_line: CommandLine, host: UsersHost
    ) -> None:
        known(command_line)
        host.failed_checks = ("takes an artifact",)
        result = command_line.run("rotate", "aws", "--yes")
        assert result.exit_code == ExitCode.FAILED and "The old key is in use as before." in result.stderr
        first, second = applied(host)
        assert NEW[1] in first and OLD[1] in second
        assert keys_of() == OLD and len(command_line.files()) == 2

    @pytest.mark.usefixtures("given")
    def test_an_interrupted_run_is_gone_on_with(
        self, command_line: CommandLine, host: UsersHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known(command_line)
        host.pending = {"aws-credentials"}
        host.failing["apply"] = ProvisionError("interrupted", code=ExitCode.INTERRUPTED)
        assert command_line.run("rotate", "aws", "--yes").exit_code == ExitCode.INTERRUPTED
        assert (command_line.folder / "server.rotating.json").stat().st_mode & 0o777 == 0o600
        del host.failing["apply"]
        for variable in VARIABLES:
            monkeypatch.delenv(variable)
        result = command_line.run("rotate", "aws", "--yes")
        assert result.exit_code == 0 and "the one of the run that was interrupted" in result.stdout
        assert keys_of() == NEW and len(command_line.files()) == 2

    def test_it_asks(self, command_line: CommandLine, host: UsersHost) -> None:
        known(command_line)
        result = command_line.run("rotate", "aws", "--iam")
        assert result.exit_code == ExitCode.USAGE and "artifacts in s3://team/ml" in result.stdout
        assert "mlflow-provision rotate aws --iam --yes" in result.stderr and not host.asked("apply")

    @pytest.mark.usefixtures("person")
    def test_a_person_types_it(self, command_line: CommandLine, host: UsersHost) -> None:
        known(command_line)
        result = command_line.run("rotate", "aws", "--yes", answers=f"{NEW[0]}\n{NEW[1]}\n")
        assert result.exit_code == 0 and keys_of() == NEW and NEW[1] not in result.output

    def test_without_a_terminal_the_variables_are_named(self, command_line: CommandLine, host: UsersHost) -> None:
        known(command_line)
        result = command_line.run("rotate", "aws", "--yes")
        assert result.exit_code == ExitCode.USAGE and all(variable in result.stderr for variable in VARIABLES)

    @pytest.mark.usefixtures("given")
    def test_backups_with_the_same_key_get_it_too(self, command_line: CommandLine, host: UsersHost) -> None:
        backup = Backup(destination="s3://team/backups", region="us-west-1", credentials="keys")
        path = known(command_line, backup=backup)
        result = command_line.run("rotate", "aws", "--yes")
        assert result.exit_code == 0 and [data["section"] for data in host.asked("store")[1:]] == ["backup"]
        secrets = load_secrets(path)
        assert (secrets.backup_access_key_id, secrets.backup_secret_access_key) == NEW and keys_of() == NEW

    @pytest.mark.usefixtures("given")
    def test_a_key_of_the_backups_alone(self, command_line: CommandLine, host: UsersHost) -> None:
        backup = Backup(destination="s3://team/backups", region="us-west-1", credentials="keys")
        path = known(command_line, backup=backup)
        other = ("AKIAOTHER", "CANARY/other")
        save_secrets(path, Secrets(PASSWORD, *other, backup_access_key_id=OLD[0], backup_secret_access_key=OLD[1]))
        assert command_line.run("rotate", "aws", "--backups", "--yes").exit_code == 0
        assert keys_of() == other and load_secrets(path).backup_access_key_id == NEW[0]

    @pytest.mark.parametrize(
        ("artifacts", "words"),
        [
            (Artifacts("s3://team/ml", "us-west-1", credentials="instance-role"), "AWS itself changes every few hours"),
            (Artifacts(), "neither its artifacts nor its backups are in a bucket"),
        ],
    )
    def test_where_there_is_none(
        self, command_line: CommandLine, host: UsersHost, artifacts: Artifacts, words: str
    ) -> None:
        known(command_line, artifacts=artifacts)
        result = command_line.run("rotate", "aws", "--yes")
        assert result.exit_code == ExitCode.USAGE and words in result.stderr

    @pytest.mark.parametrize(
        "words", [["--iam", "--from-profile", "x"], ["--aws-profile", "x"], ["--delete-old"], ["--backups"]]
    )
    def test_what_makes_no_sense(self, command_line: CommandLine, host: UsersHost, words: list[str]) -> None:
        known(command_line)
        assert command_line.run("rotate", "aws", "--yes", *words).exit_code == ExitCode.USAGE

    def test_at_a_store_without_iam(self, command_line: CommandLine, host: UsersHost) -> None:
        known(command_line, artifacts=Artifacts("s3://team/ml", endpoint_url="https://minio", credentials="keys"))
        result = command_line.run("rotate", "aws", "--iam", "--yes")
        assert result.exit_code == ExitCode.USAGE and "AWS_ENDPOINT_URL_IAM" in result.stderr

    @pytest.mark.usefixtures("given")
    def test_a_variable_with_the_old_one_is_told(
        self, command_line: CommandLine, host: UsersHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known(command_line)
        monkeypatch.setenv("MLFLOW_PROVISION_AWS_ACCESS_KEY_ID", OLD[0])
        monkeypatch.setenv("MLFLOW_PROVISION_AWS_SECRET_ACCESS_KEY", OLD[1])
        result = command_line.run("rotate", "aws", "--yes")
        assert "MLFLOW_PROVISION_AWS_SECRET_ACCESS_KEY is set here and still has the old key" in result.stdout


class TestIam:
    """Against moto's IAM."""

    @pytest.fixture
    def iam(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: UsersHost) -> Iterator[Any]:
        pytest.importorskip("moto", reason="moto is not installed here")
        with account(tmp_path, monkeypatch):
            iam = client("iam")
            iam.create_user(UserName="mlflow")
            yield iam

    @pytest.fixture
    def old(self, iam: Any, command_line: CommandLine) -> tuple[str, str]:
        made = iam.create_access_key(UserName="mlflow")["AccessKey"]
        old = (made["AccessKeyId"], made["SecretAccessKey"])
        path = known(command_line)
        save_secrets(path, Secrets(PASSWORD, *old))
        return old

    @staticmethod
    def states(iam: Any) -> dict[str, str]:
        return {
            key["AccessKeyId"]: key["Status"] for key in iam.list_access_keys(UserName="mlflow")["AccessKeyMetadata"]
        }

    def run(self, command_line: CommandLine, *words: str) -> Any:
        return command_line.run("rotate", "aws", "--iam", "--aws-profile", PROFILE, "--yes", *words)

    def test_made_and_the_old_one_inactive(self, command_line: CommandLine, iam: Any, old: tuple[str, str]) -> None:
        result = self.run(command_line)
        assert result.exit_code == 0, result.output
        new = keys_of()
        assert new != old and self.states(iam) == {old[0]: "Inactive", new[0]: "Active"}
        assert f"aws iam delete-access-key --user-name mlflow --access-key-id {old[0]}" in result.stdout

    def test_the_old_one_deleted(self, command_line: CommandLine, iam: Any, old: tuple[str, str]) -> None:
        document = json.loads(self.run(command_line, "--delete-old", "--json").stdout)
        assert document["rotated"]["old"] == "deleted" and self.states(iam) == {keys_of()[0]: "Active"}

    def test_taken_back(self, command_line: CommandLine, host: UsersHost, iam: Any, old: tuple[str, str]) -> None:
        host.failed_checks = ("takes an artifact",)
        result = self.run(command_line)
        assert "The new key of mlflow was deleted again." in result.stderr
        assert self.states(iam) == {old[0]: "Active"} and keys_of() == old

    def test_missed_after_all(
        self,
        command_line: CommandLine,
        host: UsersHost,
        iam: Any,
        old: tuple[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tried: list[str] = []

        def try_key(_: object, used: object, key: Any, *__: object) -> None:
            tried.append(self.states(iam)[old[0]])
            if tried[-1] == "Inactive":
                raise ProvisionError("the store refuses it")

        monkeypatch.setattr(aws, "try_key", try_key)
        result = self.run(command_line)
        assert tried == ["Active", "Inactive"] and "which is active again" in result.stderr
        assert self.states(iam)[old[0]] == "Active" and keys_of() != old
        monkeypatch.undo()

    def test_there_can_be_no_third(self, command_line: CommandLine, iam: Any, old: tuple[str, str]) -> None:
        iam.create_access_key(UserName="mlflow")
        result = self.run(command_line)
        if len(self.states(iam)) == 2:  # moto before some version knows no limit
            assert "has two access keys already" in result.stderr and keys_of() == old

    def test_another_deployment_still_uses_it(self, command_line: CommandLine, iam: Any, old: tuple[str, str]) -> None:
        save_secrets(known(command_line, "other"), Secrets(PASSWORD, *old))
        result = command_line.run("rotate", "aws", "server", "--iam", "--aws-profile", PROFILE, "--yes")
        assert "the old key stays active: other use it too" in result.stdout
        assert self.states(iam)[old[0]] == "Active" and keys_of("other") == old

    def test_a_profile_gets_it_in_its_file(
        self, command_line: CommandLine, tmp_path: Path, iam: Any, old: tuple[str, str]
    ) -> None:
        credentials = tmp_path / "aws-credentials"
        profile = f"\n# mine\n[ml]\naws_access_key_id={old[0]}\naws_secret_access_key = {old[1]}\nregion = eu-west-1\n"
        credentials.write_text(credentials.read_text() + profile)
        before = credentials.read_text()
        known(command_line, artifacts=Artifacts("s3://team/ml", "eu-west-1", credentials="profile", profile="ml"))
        result = self.run(command_line)
        assert result.exit_code == 0, result.output
        (new,) = set(self.states(iam)) - {old[0]}
        after = credentials.read_text()
        assert f"aws_access_key_id={new}\n" in after and old[1] not in after
        kept = [line for line in before.splitlines() if old[0] not in line and old[1] not in line]
        assert [line for line in kept if line not in after.splitlines()] == []

    def test_a_key_of_another_account(self, command_line: CommandLine, host: UsersHost, iam: Any) -> None:
        known(command_line)
        result = self.run(command_line)
        assert result.exit_code == ExitCode.FAILED and "--aws-profile PROFILE" in result.stderr
