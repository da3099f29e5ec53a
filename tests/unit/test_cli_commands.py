"""`verify`, `status` and its kin, `list`, `env`, `destroy`, `completion`, and the choice of a deployment."""

from __future__ import annotations

import dataclasses
import json

import click
import pytest

from mlflow_provision import __version__
from mlflow_provision.backup_keys import generate
from mlflow_provision.cli import cli
from mlflow_provision.cli.address import address, tunnel_command
from mlflow_provision.cli.group import COMMANDS
from mlflow_provision.config import (
    Backup,
    Deployment,
    MLflow,
    deployment_path,
    load_secrets,
    save_secrets,
    secrets_path,
)
from mlflow_provision.errors import ExitCode, ProvisionError
from tests.unit.conftest import PASSWORD, CommandLine
from tests.unit.fake_host import FakeHost


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_is_true(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.name == name
    assert command.help and COMMANDS[name][1].endswith(".") and len(COMMANDS[name][1]) <= 64


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal(command_line: CommandLine, name: str) -> None:
    result = command_line.run(name, "--help")
    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if len(line) > 80] == []


def test_version_and_a_typing_error(command_line: CommandLine) -> None:
    assert command_line.run("--version").stdout == f"mlflow-provision {__version__}\n"
    result = command_line.run("setpu")
    assert result.exit_code == 2 and "Did you mean 'setup'?" in result.stderr


def test_the_only_deployment_needs_no_name(command_line: CommandLine) -> None:
    result = command_line.run("start")
    assert result.exit_code == ExitCode.USAGE and "no deployment yet" in result.stderr
    command_line.known("prod")
    assert "prod is running" in command_line.run("start").stdout
    command_line.known("staging")
    result = command_line.run("start")
    assert result.exit_code == ExitCode.USAGE and "prod, staging" in result.stderr
    assert "did you mean prod?" in command_line.run("status", "prdo").stderr


def test_verify_shows_every_check(command_line: CommandLine) -> None:
    command_line.known()
    result = command_line.run("verify")
    assert result.exit_code == 0, result.output
    assert "ok      takes an artifact  as measured  0.1s" in result.stdout
    assert "server works: 3 checks" in result.stdout
    request = command_line.host.requests[-1][1]
    assert request["level"] == "full" and request["kill"] is True
    command_line.run("verify", "--no-kill")
    assert command_line.host.requests[-1][1]["kill"] is False


def test_verify_fails_by_its_exit_code_and_says_where(command_line: CommandLine) -> None:
    command_line.known()
    command_line.host.failed_checks = ("is healthy", "takes an artifact")
    result = command_line.run("verify")
    assert result.exit_code == ExitCode.FAILED
    assert "2 checks of 3 failed: is healthy, takes an artifact" in result.stderr
    document = command_line.json("verify")
    assert [check["verdict"] for check in document["verify"]] == ["failed", "ok", "failed"]
    assert PASSWORD not in str(document)


def test_a_server_of_ones_own_is_never_killed(command_line: CommandLine) -> None:
    command_line.known("local", "local", scope="user")
    command_line.run("verify", "--kill")
    assert command_line.host.requests[-1][1]["kill"] is False


def test_verify_needs_the_password(command_line: CommandLine) -> None:
    path = command_line.known()
    secrets_path(path).unlink()
    result = command_line.run("verify")
    assert result.exit_code == ExitCode.FAILED and "MLFLOW_PROVISION_ADMIN_PASSWORD" in result.stderr


@pytest.mark.parametrize(
    ("verb", "running", "healthy", "code"),
    [
        ("status", True, False, 1),
        ("status", False, False, 1),
        ("start", True, True, 0),
        ("restart", True, False, 1),
        ("stop", False, False, 0),
        ("stop", True, True, 1),
    ],
)
def test_the_exit_code_tells_the_truth(
    command_line: CommandLine, verb: str, running: bool, healthy: bool, code: int
) -> None:
    command_line.known()
    command_line.host.status |= {"running": running, "healthy": healthy, "problem": "" if healthy else "no answer"}
    result = command_line.run(verb)
    assert command_line.host.verbs == (["health"] if verb == "status" else ["facts", verb])
    assert result.exit_code == code, result.output
    document = command_line.json(verb)
    assert document["exit_code"] == code and document["status"]["running"] is running


def test_a_start_that_fails_says_why_with_the_name_in_the_hint(command_line: CommandLine) -> None:
    command_line.known("prod")
    command_line.host.failing["start"] = ProvisionError("there is no unit", "set it up: mlflow-provision setup NAME")
    assert "setup prod\n" in command_line.run("start").stderr


def test_list_asks_no_host(command_line: CommandLine) -> None:
    assert "No deployment yet" in command_line.run("list").stdout
    command_line.known("prod", mlflow=MLflow(port=5005))
    command_line.known("broken").write_text("x")
    result = command_line.run("list")
    assert result.stdout.splitlines()[0].split() == ["NAME", "HOST", "MLFLOW", "PORT", "ARTIFACTS"]
    assert "prod    ubuntu@box" in result.stdout and "5005" in result.stdout and "cannot be used" in result.stdout
    rows = {row["name"]: row for row in command_line.json("list")["deployments"]}
    assert rows["prod"]["port"] == 5005 and rows["prod"]["error"] is None and rows["broken"]["error"]
    assert not command_line.connections


def test_env_prints_the_password_on_request(command_line: CommandLine) -> None:
    command_line.known(password="it's $(not) `run`!")
    assert command_line.run("env").stdout.splitlines() == [
        "export MLFLOW_TRACKING_URI=http://127.0.0.1:5000",
        "export MLFLOW_TRACKING_USERNAME=admin",
        """export MLFLOW_TRACKING_PASSWORD='it'"'"'s $(not) `run`!'""",
    ]
    result = command_line.run("env", "--json")
    assert "it's $(not)" in result.stdout and result.stderr == ""
    assert "mlflow-provision tunnel server --background --local-port 5000" in command_line.run("env").stderr


def test_env_for_programs_and_for_env_files(command_line: CommandLine) -> None:
    password = r"""it's $(not) "run" \n #1"""
    command_line.known(password=password)
    assert json.loads(command_line.run("env", "--format", "json").stdout) == {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": password,
    }
    assert command_line.run("env", "--format", "dotenv").stdout.splitlines() == [
        "MLFLOW_TRACKING_URI=http://127.0.0.1:5000",
        "MLFLOW_TRACKING_USERNAME=admin",
        r"""MLFLOW_TRACKING_PASSWORD='it\'s $(not) "run" \\n #1'""",
    ]


def test_env_without_a_password(command_line: CommandLine) -> None:
    secrets_path(command_line.known()).unlink()
    assert "server.secrets.toml" in command_line.run("env").stderr


@pytest.mark.parametrize(
    ("host", "listen", "url"),
    [
        ("local", "127.0.0.1", "http://127.0.0.1:5000"),
        ("local", "0.0.0.0", "http://127.0.0.1:5000"),
        ("ubuntu@box", "127.0.0.1", "http://127.0.0.1:5000"),
        ("ubuntu@box", "0.0.0.0", "http://box:5000"),
        ("ssh://ubuntu@box:2222", "0.0.0.0", "http://box:5000"),
        ("ubuntu@[::5]:22", "::", "http://[::5]:5000"),
        ("ubuntu@box", "10.0.0.7", "http://10.0.0.7:5000"),
        ("ubuntu@box", "fd00::7", "http://[fd00::7]:5000"),
    ],
)
def test_address(host: str, listen: str, url: str) -> None:
    assert address(Deployment("server", host, mlflow=MLflow(listen=listen))) == url


def test_tunnel_command() -> None:
    """It makes the address true."""
    deployment = Deployment("server", "ubuntu@box", mlflow=MLflow(port=5005, listen="::1"))
    assert address(deployment) == "http://127.0.0.1:5005"
    assert tunnel_command(deployment) == "mlflow-provision tunnel server --background --local-port 5005"


class TestDestroy:
    @pytest.mark.usefixtures("person")
    def test_the_name_is_typed_and_the_password_of_kept_data_stays(self, command_line: CommandLine) -> None:
        command_line.known("prod")
        command_line.host.pending = {"service"}
        result = command_line.run("destroy", "prod", answers="prod\n")
        assert result.exit_code == 0, result.output
        assert command_line.host.verbs == ["facts", "plan", "apply"]
        assert "The data stay in" in result.output and "prod is gone from ubuntu@box" in result.output
        assert command_line.files() == {"prod.secrets.toml"}

    @pytest.mark.usefixtures("person")
    @pytest.mark.parametrize("answer", ["\n", "prdo\n", "y\n"])
    def test_anything_else_changes_nothing(self, command_line: CommandLine, answer: str) -> None:
        command_line.known("prod")
        command_line.host.pending = {"service"}
        result = command_line.run("destroy", "prod", "--delete-data", answers=answer)
        assert result.exit_code == ExitCode.FAILED and "apply" not in command_line.host.verbs
        assert command_line.files() == {"prod.toml", "prod.secrets.toml"}

    def test_with_data_everything_is_forgotten(self, command_line: CommandLine) -> None:
        command_line.known("prod")
        command_line.host.pending = {"service"}
        result = command_line.run("destroy", "prod", "--delete-data", "--yes")
        assert result.exit_code == 0 and "DELETED" in result.stdout and not command_line.files()

    @pytest.mark.parametrize("opens", ["backup_passphrase", "backup_identity"])
    def test_what_opens_the_backups_stays_with_them(self, command_line: CommandLine, opens: str) -> None:
        """They stay whatever is deleted, and nobody can make it again."""
        path = command_line.known("prod", backup=Backup("/srv/backups"))
        secret = "correct-horse-battery-staple" if opens == "backup_passphrase" else generate()[0]
        save_secrets(path, dataclasses.replace(load_secrets(path), **{opens: secret}))
        command_line.host.pending = {"service"}
        result = command_line.run("destroy", "prod", "--delete-data", "--yes")
        assert result.exit_code == 0 and "The backups in /srv/backups stay." in result.stdout
        assert "What opens the backups is kept in" in result.stdout and secret not in result.output
        assert command_line.files() == {"prod.secrets.toml"}

    def test_what_is_gone_already_is_only_forgotten(self, command_line: CommandLine) -> None:
        command_line.known("prod")
        assert command_line.run("destroy", "prod", "--yes").exit_code == 0
        assert command_line.host.verbs == ["facts", "plan"] and not deployment_path("prod").exists()

    def test_without_a_terminal_it_needs_a_yes_and_always_a_name(self, command_line: CommandLine) -> None:
        command_line.known("prod")
        result = command_line.run("destroy", "prod")
        assert result.exit_code == ExitCode.USAGE and "mlflow-provision destroy prod --yes" in result.stderr
        assert command_line.run("destroy", "--yes").exit_code == ExitCode.USAGE
        assert command_line.files() == {"prod.toml", "prod.secrets.toml"}

    def test_a_failure_forgets_nothing(self, command_line: CommandLine) -> None:
        command_line.known("prod")
        command_line.host.pending = {"service"}
        command_line.host.failing["apply"] = ProvisionError("it ended")
        assert command_line.run("destroy", "prod", "--delete-data", "--yes").exit_code == ExitCode.FAILED
        assert command_line.files() == {"prod.toml", "prod.secrets.toml"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(command_line: CommandLine, shell: str) -> None:
    result = command_line.run("completion", shell)
    assert result.exit_code == 0 and f"_MLFLOW_PROVISION_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.usefixtures("person")
def test_questions_on_the_way_to_the_host(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_provision.cli.connection import questions
    from mlflow_provision.console import Console

    answers = iter([True, "secret", ""])
    monkeypatch.setattr("click.confirm", lambda *_, **__: next(answers))
    monkeypatch.setattr("click.prompt", lambda *_, **__: next(answers))
    ask = questions(Console.of_command("setup"))
    assert ask.confirm_host_key is not None and ask.sudo_password is not None and ask.key_passphrase is not None
    assert ask.confirm_host_key("box", "ED25519", "SHA256:abc") is True
    assert ask.sudo_password("Password of ubuntu:") == "secret"
    assert ask.key_passphrase("/home/ana/.ssh/id") is None


def test_without_a_person_there_are_no_questions() -> None:
    from mlflow_provision.cli.connection import questions
    from mlflow_provision.console import Console

    ask = questions(Console.of_command("setup"))
    assert (ask.confirm_host_key, ask.sudo_password, ask.key_passphrase) == (None, None, None)


def test_a_host_is_let_go_of_whatever_happens(command_line: CommandLine) -> None:
    command_line.known()
    host = command_line.host = FakeHost()
    host.failing["health"] = ProvisionError("it ended")
    command_line.run("status")
    assert host.closed
