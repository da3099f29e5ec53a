"""`user` and its commands: what is asked of the host, what a person and a program see, what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlflow_provision.cli.user import COMMANDS
from mlflow_provision.config import deployment_path, load
from mlflow_provision.errors import ExitCode, ProvisionError
from tests.unit.conftest import PASSWORD, CommandLine
from tests.unit.users_host import UsersHost, grant, user

NEW = "CANARY-typed-password"


@pytest.fixture
def host(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> UsersHost:
    monkeypatch.delenv("MLFLOW_PROVISION_USER_PASSWORD", raising=False)
    command_line.host = UsersHost()
    command_line.known()
    return command_line.host


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_fits(command_line: CommandLine, name: str) -> None:
    result = command_line.run("user", name, "--help")
    assert result.exit_code == 0 and f"user {name}" in result.stdout
    assert [line for line in result.stdout.splitlines() if len(line) > 80] == []
    assert COMMANDS[name][1].endswith(".") and len(COMMANDS[name][1]) <= 64


def test_every_change_holds_the_lock_and_is_noted(command_line: CommandLine, host: UsersHost) -> None:
    command_line.run("user", "list")
    command_line.run("user", "add", "ana")
    (asked,), (change,) = host.asked("users", "list"), host.asked("users", "add")
    assert "lock" not in asked and "audit" not in asked
    assert change["lock"] and change["what"] == "user add ana"
    assert change["server"]["password"] == PASSWORD and change["server"]["owner"] == "mlflow-server"
    assert change["server"]["admin"]["release"] == change["server"]["venv"] == "/opt/mlflow/server/venv"


class TestList:
    def test_a_table(self, command_line: CommandLine, host: UsersHost) -> None:
        text = command_line.run("user", "list").stdout
        assert "admin  administrator of this deployment" in text and "1 permission" in text
        assert "given nothing: READ" in text

    def test_the_document(self, command_line: CommandLine, host: UsersHost) -> None:
        assert [one["username"] for one in command_line.json("user", "list")["users"]] == ["admin", "bob"]

    def test_without_the_password_the_way_out_is_told(self, command_line: CommandLine, host: UsersHost) -> None:
        command_line.known(password="")
        result = command_line.run("user", "list")
        assert result.exit_code == ExitCode.FAILED and not host.asked("users")
        assert "mlflow-provision user password admin server --reset" in result.stderr

    def test_a_deployment_that_is_not_set_up(self, command_line: CommandLine, host: UsersHost) -> None:
        host.changed_facts["applied"] = None
        result = command_line.run("user", "list")
        assert "has no users" in result.stderr and "mlflow-provision setup server" in result.stderr


class TestAdd:
    def test_a_generated_password_is_shown_once(self, command_line: CommandLine, host: UsersHost) -> None:
        result = command_line.run("user", "add", "ana")
        (asked,) = host.asked("users", "add")
        assert len(asked["password"]) >= 24 and result.stdout.count(asked["password"]) == 1
        assert asked["admin"] is False and asked["username"] == "ana"
        assert asked["password"] not in "".join(path.read_text() for path in command_line.folder.iterdir())

    def test_the_document_has_it_too(self, command_line: CommandLine, host: UsersHost) -> None:
        document = command_line.json("user", "add", "ana", "--admin")
        (asked,) = host.asked("users", "add")
        assert document["user"]["password"] == asked["password"] and asked["admin"] is True

    def test_quiet_it_would_be_lost(self, command_line: CommandLine, host: UsersHost) -> None:
        result = command_line.run("user", "add", "ana", "-q")
        assert result.exit_code == ExitCode.USAGE and "nobody would see the password" in result.stderr
        assert not command_line.connections

    def test_one_of_the_environment_is_not_shown(
        self, command_line: CommandLine, host: UsersHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_PROVISION_USER_PASSWORD", NEW)
        result = command_line.run("user", "add", "ana")
        assert host.asked("users", "add")[0]["password"] == NEW and NEW not in result.output
        assert "password" not in command_line.json("user", "add", "eve")["user"]
        monkeypatch.setenv("MLFLOW_PROVISION_USER_PASSWORD", "short")
        result = command_line.run("user", "add", "ana")
        assert result.exit_code == ExitCode.USAGE and "has 5 characters" in result.stderr

    @pytest.mark.usefixtures("person")
    def test_a_person_may_type_it_hidden(self, command_line: CommandLine, host: UsersHost) -> None:
        result = command_line.run("user", "add", "ana", "--type", answers=f"short\n{NEW}\n{NEW}\n")
        assert result.exit_code == 0, result.output
        assert host.asked("users", "add")[0]["password"] == NEW and NEW not in result.output

    def test_without_a_terminal_nobody_can(self, command_line: CommandLine, host: UsersHost) -> None:
        result = command_line.run("user", "add", "ana", "--type")
        assert result.exit_code == ExitCode.USAGE and "MLFLOW_PROVISION_USER_PASSWORD" in result.stderr

    @pytest.mark.parametrize("name", ["a b", "a:b", "ä", "x" * 65])
    def test_a_name_that_makes_trouble(self, command_line: CommandLine, host: UsersHost, name: str) -> None:
        result = command_line.run("user", "add", name)
        assert result.exit_code == ExitCode.USAGE and not command_line.connections


class TestRemove:
    def test_it_asks(self, command_line: CommandLine, host: UsersHost) -> None:
        result = command_line.run("user", "remove", "bob")
        assert result.exit_code == ExitCode.USAGE and not host.asked("users", "remove")
        assert "1 permission of their own" in result.stdout and "user remove bob --yes" in result.stderr

    @pytest.mark.usefixtures("person")
    @pytest.mark.parametrize(("answer", "gone"), [("y", 1), ("n", 0), ("", 0)])
    def test_what_a_person_says(self, command_line: CommandLine, host: UsersHost, answer: str, gone: int) -> None:
        result = command_line.run("user", "remove", "bob", answers=answer + "\n")
        assert len(host.asked("users", "remove")) == gone and (result.exit_code == 0) is bool(gone)

    def test_yes(self, command_line: CommandLine, host: UsersHost) -> None:
        result = command_line.run("user", "remove", "bob", "--yes", "--no-restart")
        assert result.exit_code == 0 and host.asked("users", "remove")[0]["restart"] is False
        assert "up to a minute more" in result.stdout

    def test_our_own_administrator_is_not_even_asked_about(self, command_line: CommandLine, host: UsersHost) -> None:
        result = command_line.run("user", "remove", "admin", "--yes")
        assert result.exit_code == ExitCode.FAILED and not host.asked("users", "remove")
        assert "--admin-username OTHER" in result.stderr


class TestPassword:
    def test_of_a_user_it_is_shown_once(self, command_line: CommandLine, host: UsersHost) -> None:
        result = command_line.run("user", "password", "bob")
        (asked,) = host.asked("users", "password")
        assert result.stdout.count(asked["password"]) == 1
        assert command_line.password("server") == PASSWORD

    def test_of_the_administrator_it_is_kept_and_not_shown(self, command_line: CommandLine, host: UsersHost) -> None:
        result = command_line.run("user", "password", "admin")
        (asked,) = host.asked("users", "password")
        assert command_line.password("server") == asked["password"] != PASSWORD
        assert asked["what"] == "user password admin"
        assert asked["password"] not in result.output and "mlflow-provision env server" in result.stdout
        assert command_line.files() == {"server.toml", "server.secrets.toml"}

    def test_one_that_is_not_taken_is_not_kept(self, command_line: CommandLine, host: UsersHost) -> None:
        host.failing["users password"] = ProvisionError("no. The old password works as before.")
        assert command_line.run("user", "password", "admin").exit_code == ExitCode.FAILED
        assert command_line.password("server") == PASSWORD

    def test_a_lost_one_is_reset(self, command_line: CommandLine, host: UsersHost) -> None:
        command_line.known(password="")
        result = command_line.run("user", "password", "admin", "--reset")
        assert result.exit_code == 0, result.output
        (asked,) = host.asked("users", "reset")
        assert command_line.password("server") == asked["password"] and asked["server"]["password"] == ""

    def test_others_have_nothing_to_reset(self, command_line: CommandLine, host: UsersHost) -> None:
        result = command_line.run("user", "password", "bob", "--reset")
        assert result.exit_code == ExitCode.USAGE and "mlflow-provision user password bob server" in result.stderr

    def test_a_variable_with_the_old_one_is_told(
        self, command_line: CommandLine, host: UsersHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_PROVISION_ADMIN_PASSWORD", "CANARY-of-the-environment")
        result = command_line.run("user", "password", "admin")
        assert "MLFLOW_PROVISION_ADMIN_PASSWORD is set here and still has the old password" in result.stdout


class TestAdmin:
    def test_on_and_off(self, command_line: CommandLine, host: UsersHost) -> None:
        assert "is an administrator of server now" in command_line.run("user", "admin", "bob").stdout
        assert "is an ordinary user of server now" in command_line.run("user", "admin", "bob", "--off").stdout
        assert [asked["admin"] for asked in host.asked("users", "admin")] == [True, False]

    def test_already(self, command_line: CommandLine, host: UsersHost) -> None:
        host.answer = {"user": user("bob", True), "changed": False, "restarted": False}
        assert "was an administrator of server already" in command_line.run("user", "admin", "bob").stdout


class TestPermission:
    @pytest.mark.parametrize(
        ("option", "kind", "word"),
        [
            ("--experiment", "experiment", "churn"),
            ("--model", "registered_model", "fraud"),
            ("--prompt", "prompt", "p"),
        ],
    )
    def test_granted(self, command_line: CommandLine, host: UsersHost, option: str, kind: str, word: str) -> None:
        result = command_line.run("user", "permission", "bob", option, word, "--grant", "manage")
        (asked,) = host.asked("users", "grant")
        assert asked["resource"] == {"type": kind, "name": word} and asked["permission"] == "MANAGE"
        assert "bob has MANAGE on" in result.stdout

    def test_of_anything_else(self, command_line: CommandLine, host: UsersHost) -> None:
        command_line.run("user", "permission", "bob", "--on", "gateway_endpoint:e:1", "--grant", "USE")
        assert host.asked("users", "grant")[0]["resource"] == {"type": "gateway_endpoint", "name": "e:1"}

    def test_revoked(self, command_line: CommandLine, host: UsersHost) -> None:
        result = command_line.run("user", "permission", "bob", "--experiment", "churn", "--revoke")
        assert "bob was given EDIT on experiment churn, and has it no more." in result.stdout

    def test_shown(self, command_line: CommandLine, host: UsersHost) -> None:
        host.users[1]["grants"].append(grant("*", "READ", role="readers"))
        text = command_line.run("user", "permission", "bob").stdout
        assert "experiment churn  EDIT        a grant" in text
        assert "all experiments   READ        the role readers" in text

    def test_who_may_use_a_thing(self, command_line: CommandLine, host: UsersHost) -> None:
        for words in (["--experiment", "churn"], ["server", "--experiment", "churn"]):
            text = command_line.run("user", "permission", *words).stdout
            assert "admin  EDIT        administrator" in text and "bob    EDIT        default, or a role" in text
        assert {asked["username"] for asked in host.asked("users", "permissions")} == {""}

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["bob", "--grant", "READ"],
            ["bob", "--experiment", "a", "--model", "b"],
            ["bob", "--experiment", "a", "--grant", "READ", "--revoke"],
            ["--experiment", "a", "--revoke"],
            ["bob", "--on", "nothing"],
            ["--default", "READ", "--experiment", "a"],
        ],
    )
    def test_what_makes_no_sense(self, command_line: CommandLine, host: UsersHost, words: list[str]) -> None:
        result = command_line.run("user", "permission", *words)
        assert result.exit_code == ExitCode.USAGE and not command_line.connections, result.output
        assert "Next: " in result.stderr

    def test_the_default_is_a_line_of_the_deployment_file(self, command_line: CommandLine, host: UsersHost) -> None:
        host.pending = {"basic_auth.ini"}
        result = command_line.run("user", "permission", "--default", "edit", "--yes")
        assert result.exit_code == 0, result.output
        assert load(deployment_path("server")).auth.default_permission == "EDIT"
        assert "apply" in host.verbs


def test_no_secret_is_written_into_the_document_of_others(command_line: CommandLine, host: UsersHost) -> None:
    for words in (["list"], ["admin", "bob"], ["permission", "bob"], ["password", "admin"]):
        assert "CANARY" not in json.dumps(command_line.json("user", *words))


def test_an_interrupted_change_is_kept_for_the_next_run(command_line: CommandLine, host: UsersHost) -> None:
    host.failing["users password"] = ProvisionError("the connection was lost")
    command_line.run("user", "password", "admin")
    journal = Path(command_line.folder / "server.rotating.json")
    (first,) = host.asked("users", "password")
    assert journal.stat().st_mode & 0o777 == 0o600 and first["password"] in journal.read_text()
    command_line.run("rotate", "password")
    second = host.asked("users", "password")[1]
    assert second["others"] == [first["password"]] and second["password"] != first["password"]
    del host.failing["users password"]
    assert command_line.run("rotate", "password").exit_code == 0
    third = host.asked("users", "password")[2]
    assert sorted(third["others"]) == sorted([first["password"], second["password"]])
    assert command_line.password("server") == third["password"] and not journal.exists()
