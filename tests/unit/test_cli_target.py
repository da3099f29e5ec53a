"""Which deployment TARGET, --name and --config mean, and what flags make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.config import Artifacts, deployment_path, load, secrets_path
from mlflow_provision.errors import ExitCode
from tests.unit.conftest import PASSWORD, CommandLine


def refused(command_line: CommandLine, *arguments: str) -> str:
    result = command_line.run("setup", *arguments, "--yes")
    assert result.exit_code == ExitCode.USAGE, result.output
    assert not command_line.host.requests
    return result.stderr


def set_up(command_line: CommandLine, *arguments: str) -> None:
    command_line.host.pending = {"service"}
    result = command_line.run("setup", *arguments, "--yes")
    assert result.exit_code == 0, result.output


def test_neither_target_nor_file(command_line: CommandLine) -> None:
    error = refused(command_line)
    assert "TARGET" in error and "--config FILE" in error


@pytest.mark.parametrize(
    ("target", "name", "host", "scope"),
    [
        ("local", "local", "local", "user"),
        ("ubuntu@box", "server", "ubuntu@box", "system"),
        ("alias", "server", "alias", "system"),
    ],
)
def test_a_new_deployment(command_line: CommandLine, target: str, name: str, host: str, scope: str) -> None:
    set_up(command_line, target)
    deployment = load(deployment_path(name))
    assert (deployment.name, deployment.host, deployment.scope) == (name, host, scope)


def test_root_of_a_machine_with_systemd_gets_a_system_server(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow_provision.config.local_scope", lambda: "system")
    set_up(command_line, "local")
    assert load(deployment_path("local")).scope == "system"


def test_the_same_host_is_the_same_deployment(command_line: CommandLine) -> None:
    command_line.known("prod", "ubuntu@box")
    set_up(command_line, "ubuntu@box", "--port", "5005")
    assert load(deployment_path("prod")).mlflow.port == 5005
    assert not deployment_path("server").exists()


def test_a_second_deployment_on_a_host(command_line: CommandLine) -> None:
    command_line.known("prod", "ubuntu@box")
    set_up(command_line, "ubuntu@box", "--name", "staging", "--port", "5005")
    assert load(deployment_path("staging")).host == "ubuntu@box"
    assert "2 deployments: prod, staging" in refused_after(command_line, "ubuntu@box")


def test_a_name_in_use_elsewhere(command_line: CommandLine) -> None:
    command_line.known("server", "ubuntu@one")
    error = refused(command_line, "ubuntu@Two.example.com")
    assert "belongs to a deployment on ubuntu@one" in error and "--name two" in error
    assert str(deployment_path("server")) in error
    assert "belongs to" in refused(command_line, "ubuntu@two", "--name", "server")
    set_up(command_line, "ubuntu@two", "--name", "two")


def test_a_deployment_and_another_name(command_line: CommandLine) -> None:
    command_line.known("prod")
    assert "--name says x" in refused(command_line, "prod", "--name", "x")


def test_flags_change_a_deployment_and_keep_the_rest(command_line: CommandLine) -> None:
    path = command_line.known("prod", artifacts=Artifacts("s3://bucket/ml", "us-west-1", credentials="instance-role"))
    path.write_text(path.read_text().replace("port = 5000", "port = 5000  # asked of IT"))
    set_up(
        command_line,
        *(
            "prod",
            "--port",
            "5007",
            "--workers",
            "2",
            "--jobs",
            "--allowed-host",
            "a.example",
            "--allowed-host",
            "b.example",
        ),
        *("--default-permission", "edit", "-i", "key"),
    )
    deployment = load(path)
    assert (deployment.mlflow.port, deployment.mlflow.workers, deployment.mlflow.job_execution) == (5007, 2, True)
    assert deployment.mlflow.allowed_hosts == ("a.example", "b.example")
    assert deployment.auth.default_permission == "EDIT"
    assert deployment.identity_file == str(Path("key").absolute())
    assert deployment.artifacts.destination == "s3://bucket/ml"
    assert "# asked of IT" in path.read_text()
    set_up(command_line, "prod", "--no-jobs")
    assert load(path).mlflow.job_execution is False


def test_a_folder_has_no_use_for_what_belonged_to_the_bucket(command_line: CommandLine) -> None:
    path = command_line.known("prod", artifacts=Artifacts("s3://bucket/ml", "us-west-1", credentials="instance-role"))
    set_up(command_line, "prod", "--artifacts", "/srv/artifacts")
    assert load(path).artifacts == Artifacts("/srv/artifacts")


def test_one_way_to_the_bucket_replaces_the_other(command_line: CommandLine) -> None:
    artifacts = Artifacts("s3://bucket/ml", credentials="profile", profile="team")
    path = command_line.known("prod", artifacts=artifacts)
    set_up(command_line, "prod", "--instance-role")
    assert (load(path).artifacts.credentials, load(path).artifacts.profile) == ("instance-role", "")
    assert "exclude each other" in refused_after(command_line, "prod", "--instance-role", "--aws-keys")


def refused_after(command_line: CommandLine, *arguments: str) -> str:
    command_line.host.requests.clear()
    return refused(command_line, *arguments)


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["local", "--port", "0"], "--port:"),
        (["local", "--port", "99999"], "--port:"),
        (["local", "--workers", "0"], "--workers:"),
        (["local", "--name", "a b"], "--name:"),
        (["local", "--name", "$(reboot)"], "--name:"),
        (["a b"], "TARGET:"),
        (["ubuntu@$(reboot)"], "TARGET:"),
        (["ubuntu@box\nProxyCommand x"], "TARGET:"),
        (["ubuntu:hunter2@box"], "TARGET:"),
        (["ubuntu@box", "--scope", "user"], "--scope:"),
        (["local", "--artifacts", "gs://bucket"], "--artifacts:"),
        (["local", "--artifacts", "s3://bucket/ml"], "credentials (--instance-role"),
        (["local", "--default-permission", "all"], "--default-permission:"),
        (["local", "--mlflow-version", "newest"], "--mlflow-version:"),
        (["local", "--listen", "everywhere"], "--listen:"),
    ],
)
def test_what_cannot_be_built_is_told_in_the_words_of_the_flags(
    command_line: CommandLine, arguments: list[str], flag: str
) -> None:
    error = refused(command_line, *arguments)
    assert flag in error and "hunter2" not in error
    assert error.count("\n") <= 3 and not command_line.files()


def test_a_file_from_elsewhere_becomes_known_and_stays_where_it_is(command_line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "repository" / "prod.toml"
    file.parent.mkdir()
    file.write_text('name = "prod"\nhost = "ubuntu@box"\n\n[mlflow]\nport = 5003  # ours\n')
    set_up(command_line, "--config", str(file))
    assert deployment_path("prod").resolve() == file
    assert command_line.password("prod") and not secrets_path(file).exists()
    assert "port = 5003  # ours" in file.read_text()
    file.write_text(file.read_text().replace("5003", "5004"))
    set_up(command_line, "prod")
    assert command_line.connections[-1].mlflow.port == 5004


def test_secrets_beside_a_file_from_elsewhere_count(command_line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "prod.toml"
    file.write_text('host = "ubuntu@box"\n')
    secrets_path(file).write_text(f'admin_password = "{PASSWORD}"\n')
    secrets_path(file).chmod(0o600)
    set_up(command_line, "--config", str(file))
    assert PASSWORD in str(command_line.host.requests)
    assert command_line.files() == {"prod.toml"}
    assert PASSWORD in command_line.run("env", "prod").stdout


def test_a_file_whose_name_is_in_use_for_another_host(command_line: CommandLine, tmp_path: Path) -> None:
    command_line.known("prod", "ubuntu@one")
    file = tmp_path / "prod.toml"
    file.write_text('host = "ubuntu@two"\n')
    assert "belongs to a deployment on ubuntu@one" in refused(command_line, "--config", str(file))


@pytest.mark.parametrize("content", ["host = ", 'hots = "local"', 'host = "local"\n[mlflow]\nprot = 1', "\x00"])
def test_a_file_that_is_none(command_line: CommandLine, tmp_path: Path, content: str) -> None:
    file = tmp_path / "prod.toml"
    file.write_text(content)
    assert "prod.toml" in refused(command_line, "--config", str(file))


def test_a_file_and_a_target(command_line: CommandLine, tmp_path: Path) -> None:
    assert "TARGET and --config" in refused(command_line, "local", "--config", str(tmp_path / "x.toml"))
    assert "--name and --config" in refused(command_line, "--name", "x", "--config", str(tmp_path / "x.toml"))
    assert "no such file" in refused(command_line, "--config", str(tmp_path / "x.toml"))


def test_a_broken_file_of_another_deployment_is_in_nobodys_way(command_line: CommandLine) -> None:
    command_line.known("other").write_text("not TOML")
    set_up(command_line, "local")
