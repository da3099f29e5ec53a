"""The files that templates make, read by those that will read them: sh, ConfigParser, systemd."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.running import stale
from mlflow_provision.blueprint import blueprint
from mlflow_provision.blueprint.render import render
from mlflow_provision.config import Deployment
from tests.unit.hosts import CASES, S3_KEYS, S3_PROFILE, SECRETS, facts

each_case = pytest.mark.parametrize("deployment", CASES.values(), ids=list(CASES))
AWKWARD = [
    "plain",
    "with spaces  and\ttabs",
    "it's",
    'say "hi"',
    "$(touch /tmp/never) `id` ${HOME} $$",
    "back\\slash \\n",
    "semi;colon & pipe | < > * ? [a] {b} ~ # ! %",
    "",
    "two\nlines",
    "é ü 漢字",
    "-n",
    "=equals=",
]


def file(deployment: Deployment, name: str) -> str:
    found = {resource.id: resource for resource in blueprint(deployment, SECRETS, facts(deployment))}[name]
    assert isinstance(found, File)
    return found.content


def sh(script: str, *arguments: str, **environment: str) -> bytes:
    return subprocess.run(
        ["sh", "-c", script, "sh", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
@each_case
def test_the_start_script_and_its_environment_are_shell(deployment: Deployment, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"this machine has no {shell}")
    for name in ("start-script", "server.env"):
        checked = subprocess.run(
            [shell, "-n"], input=file(deployment, name), text=True, capture_output=True, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_values_survive_a_shell_exactly(tmp_path: Path) -> None:
    values = {f"VALUE_{number}": value for number, value in enumerate(AWKWARD)}
    env = tmp_path / "server.env"
    env.write_text(render("server.env", name="server", environment=values))
    seen = sh('set -a; . "$1"; set +a; exec env -0', str(env)).decode().split("\0")
    assert {entry.split("=", 1)[0]: entry.split("=", 1)[1] for entry in seen if entry.startswith("VALUE_")} == values


@each_case
def test_every_value_of_a_deployment_survives(deployment: Deployment, tmp_path: Path) -> None:
    env = tmp_path / "server.env"
    env.write_text(file(deployment, "server.env"))
    seen = dict(
        entry.split("=", 1) for entry in sh('set -a; . "$1"; exec env -0', str(env)).decode().split("\0") if entry
    )
    assert seen["MLFLOW_PORT"] == str(deployment.mlflow.port)
    assert "localhost:*" in seen["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert seen["MLFLOW_ARTIFACTS_DESTINATION"] == (
        deployment.artifacts.destination or f"{facts(deployment)['root']['path']}/server/data/artifacts"
    )


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    """A deployment's tree whose Python writes down how it was called; the arguments of the start script's template."""
    base = tmp_path / "m-l_f.low"
    for folder in ("data/tmp/deep", "etc", "release/bin"):
        (base / folder).mkdir(parents=True)
    (base / "venv").symlink_to("release")
    (base / "release" / "release.json").write_text("{}")
    (base / "data" / "tmp" / "deep" / "left-over").touch()
    (base / "etc" / "secrets.env").write_text("MLFLOW_FLASK_SERVER_SECRET_KEY=abc\n")
    environment = {"TMPDIR": str(base / "data" / "tmp"), "MLFLOW_PORT": "5000", "AWKWARD": "it's $(id)"}
    (base / "etc" / "server.env").write_text(render("server.env", name="server", environment=environment))
    python = base / "release" / "bin" / "python"
    notes = f'echo "$0 $*" > {base}/called; pwd -P >> {base}/called; echo $$ > {base}/pid; env -0 > {base}/environment'
    python.write_text(f"#!/bin/sh\n{notes}\n")
    python.chmod(0o755)
    return {
        "name": "server",
        "system": True,
        "data": base / "data",
        "venv": base / "venv",
        "secrets_env": base / "etc" / "secrets.env",
        "server_env": base / "etc" / "server.env",
        "runtime": base / "run",
        "started_with": base / "run" / "started-with",
        "watched": [base / "venv" / "release.json", base / "etc" / "secrets.env", base / "etc" / "server.env"],
    }


def start(tree: dict[str, Any]) -> Path:
    base: Path = tree["data"].parent
    script = base / "start.sh"
    script.write_text(render("start_mlflow_server.sh", **tree))
    script.chmod(0o755)
    with subprocess.Popen([str(script)], env={"PATH": os.environ["PATH"]}, stderr=subprocess.DEVNULL) as started:
        pass
    if started.returncode:
        raise subprocess.CalledProcessError(started.returncode, str(script))
    assert int((base / "pid").read_text()) == started.pid  # so that systemd and the pid file know the server itself
    return base


def test_the_start_script_starts_mlflow_with_its_settings_and_nothing_in_argv(tree: dict[str, Any]) -> None:
    base = start(tree)
    called = (base / "called").read_text().splitlines()
    assert called == [
        f"{base.resolve()}/release/bin/python -m mlflow server --app-name basic-auth",
        str((base / "data").resolve()),
    ]
    environment = (base / "environment").read_text().split("\0")
    assert {"MLFLOW_PORT=5000", "AWKWARD=it's $(id)", "MLFLOW_FLASK_SERVER_SECRET_KEY=abc"} <= set(environment)


def test_the_start_script_says_what_it_starts_with_as_the_agent_reads_it(tree: dict[str, Any]) -> None:
    base = start(tree)
    watched = tuple(map(str, tree["watched"]))
    assert stale(str(tree["started_with"]), watched) == []
    tree["server_env"].write_text("MLFLOW_PORT=6000\n")
    assert stale(str(tree["started_with"]), watched) == [str(base / "etc" / "server.env")]
    (base / "other").mkdir()
    (base / "other" / "release.json").write_text('{"another": 1}')
    (base / "venv").unlink()
    (base / "venv").symlink_to("other")
    assert stale(str(tree["started_with"]), watched)[0] == str(base / "venv" / "release.json")


def test_the_start_script_empties_the_temporary_folder_and_keeps_it(tree: dict[str, Any]) -> None:
    base = start(tree)
    assert list((base / "data" / "tmp").iterdir()) == []


def test_while_a_restore_is_half_way_nothing_is_started_and_the_log_says_why(tree: dict[str, Any]) -> None:
    base: Path = tree["data"].parent
    script = base / "start.sh"
    script.write_text(render("start_mlflow_server.sh", **tree).replace("sleep 2", ""))
    (base / "backup").mkdir()
    (base / "backup" / "restoring").touch()
    refused = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "mlflow-provision restore server" in refused.stderr
    assert not (base / "called").exists()
    assert (base / "data" / "tmp" / "deep" / "left-over").exists()


def test_without_its_settings_nothing_is_started_and_nothing_is_deleted(tree: dict[str, Any]) -> None:
    tree["server_env"].unlink()
    with pytest.raises(subprocess.CalledProcessError):
        start(tree)
    assert (tree["data"] / "tmp" / "deep" / "left-over").exists()
    tree["server_env"].write_text("MLFLOW_PORT=5000\n")  # no TMPDIR
    with pytest.raises(subprocess.CalledProcessError):
        start(tree)
    assert not (tree["data"].parent / "called").exists()


@pytest.mark.parametrize("missing", ["etc/secrets.env", "venv", "data/tmp", "data"])
def test_where_something_is_missing_nothing_is_started(tree: dict[str, Any], missing: str) -> None:
    path = tree["data"].parent / missing
    path.rename(tree["data"].parent / "moved")
    with pytest.raises(subprocess.CalledProcessError):
        start(tree)
    assert not (tree["data"].parent / "called").exists()


@each_case
def test_the_auth_configuration_is_read_as_it_was_meant(deployment: Deployment) -> None:
    parser = configparser.ConfigParser()
    parser.read_string(file(deployment, "basic_auth.ini"))
    assert parser.sections() == ["mlflow"]
    settings = dict(parser["mlflow"])
    assert settings["admin_username"] == deployment.auth.admin_username
    assert settings["default_permission"] == deployment.auth.default_permission
    assert settings["database_uri"].startswith("sqlite:////")
    assert settings["auth_cache_ttl_seconds"] == "60"
    assert settings.get("admin_password", "") == ""
    assert ("admin_password" in settings) == (deployment.mlflow.version == "3.12.0")


def test_a_percent_sign_survives_the_interpolation_of_the_auth_configuration() -> None:
    parser = configparser.ConfigParser()
    parser.read_string(
        render(
            "basic_auth.ini",
            name="server",
            default_permission="READ",
            admin_username="100%s",
            auth_database="/srv/50%/auth.db",
            older_than_3_16=False,
        )
    )
    assert parser["mlflow"]["admin_username"] == "100%s"
    assert parser["mlflow"]["database_uri"] == "sqlite:////srv/50%/auth.db"


@pytest.mark.parametrize(
    ("deployment", "profile", "section"),
    [(S3_KEYS, "default", "default"), (S3_PROFILE, "basketworld", "profile basketworld")],
)
def test_the_aws_files_are_read_as_they_were_meant(deployment: Deployment, profile: str, section: str) -> None:
    credentials = configparser.RawConfigParser(default_section="")
    credentials.read_string(file(deployment, "aws-credentials"))
    assert dict(credentials[profile]) == {
        "aws_access_key_id": SECRETS.aws_access_key_id,
        "aws_secret_access_key": SECRETS.aws_secret_access_key,
        "aws_session_token": SECRETS.aws_session_token,
    }
    config = configparser.RawConfigParser(default_section="")
    config.read_string(file(deployment, "aws-config"))
    assert config[section]["region"] == deployment.artifacts.region


def test_the_aws_files_are_what_boto3_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.session import Session

    for name, variable in (("aws-credentials", "AWS_SHARED_CREDENTIALS_FILE"), ("aws-config", "AWS_CONFIG_FILE")):
        (tmp_path / name).write_text(file(S3_PROFILE, name))
        monkeypatch.setenv(variable, str(tmp_path / name))
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable, raising=False)
    session = Session(profile="basketworld")
    found = session.get_credentials()
    assert found is not None
    assert (found.access_key, found.secret_key) == (SECRETS.aws_access_key_id, SECRETS.aws_secret_access_key)
    assert session.get_config_variable("region") == "eu-central-1"


@each_case
def test_systemd_understands_every_line_of_the_unit(deployment: Deployment, tmp_path: Path) -> None:
    if deployment.scope != "system":
        return
    if not shutil.which("systemd-analyze"):
        pytest.skip("this machine has no systemd-analyze")
    lines = file(deployment, "unit").splitlines()
    unit = tmp_path / "mlflow-server.service"
    unit.write_text("\n".join("ExecStart=/bin/true" if line.startswith("ExecStart=") else line for line in lines))
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    said = [line for line in checked.stderr.splitlines() if str(unit) in line]
    assert (checked.returncode, said) == (0, [])


def test_the_unit_may_write_its_data_and_an_artifact_folder_elsewhere() -> None:
    assert "\nReadWritePaths=/opt/mlflow/server/data\n" in file(S3_KEYS, "unit")
    elsewhere = file(CASES["folder-elsewhere"], "unit")
    assert "\nReadWritePaths=/data/mlflow/server/data /srv/artifacts\n" in elsewhere


@pytest.mark.parametrize("template", ["server.env", "basic_auth.ini", "aws/credentials", "mlflow.service"])
def test_a_value_that_is_missing_is_an_error_and_not_a_gap(template: str) -> None:
    with pytest.raises(UndefinedError):
        render(template)
