"""Reading a deployment file: every mistake is told by its key, with what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.config import Artifacts, Auth, Deployment, MLflow, load
from mlflow_provision.errors import ExitCode, ProvisionError


def written(folder: Path, text: str | bytes, name: str = "prod") -> Path:
    path = folder / f"{name}.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ProvisionError) as caught:
        load(path)
    assert caught.value.code == ExitCode.USAGE
    assert "CANARY" not in caught.value.message + caught.value.hint
    return caught.value.message


def test_a_whole_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        name = "prod"
        host = "ubuntu@ec2-203-0-113-7.us-west-1.compute.amazonaws.com"
        identity_file = "~/.ssh/prod.pem"
        [mlflow]
        version = "3.17.2"
        port = 5_001
        workers = 2
        job_execution = true
        allowed_hosts = ["mlflow.example.com"]
        [artifacts]
        destination = "s3://basketworld/mlflow-artifacts/"
        region = "us-west-1"
        credentials = "profile"
        profile = "basketworld"
        [auth]
        admin_username = "jane"
        default_permission = "EDIT"
        """,
    )
    assert load(path) == Deployment(
        name="prod",
        host="ubuntu@ec2-203-0-113-7.us-west-1.compute.amazonaws.com",
        identity_file="~/.ssh/prod.pem",
        mlflow=MLflow(port=5001, workers=2, job_execution=True, allowed_hosts=("mlflow.example.com",)),
        artifacts=Artifacts(
            destination="s3://basketworld/mlflow-artifacts",
            region="us-west-1",
            credentials="profile",
            profile="basketworld",
        ),
        auth=Auth(admin_username="jane", default_permission="EDIT"),
    )


@pytest.mark.parametrize("text", ['host = "h"', '\ufeffhost = "h"', 'host = "h"\r\n[mlflow]\r\n'])
def test_the_least_file(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, text)) == Deployment(name="prod", host="h")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('host = "h"\nport = \n', "prod.toml is not valid TOML: line 2, column 8"),
        ('host = "h"\npassword = CANARY\n', "line 2, column 12"),
        ('host = "h"\nhost = "CANARY"\n', "line 2"),
        ('host = "CANARY', "at its end"),
        ('host = "h"\nx = ' + "9" * 5000, "too large"),
        ("x = " + "[" * 50_000, "prod.toml is not valid TOML"),
        (b'host = "h"\n# caf\xe9\n', "not a UTF-8 text file: see line 2"),
        (b"\x00\x01\x02", "not valid TOML"),
        ('host = "h" #' + "x" * 1_100_000, "larger than a megabyte"),
    ],
)
def test_what_is_no_toml(tmp_path: Path, text: str | bytes, told: str) -> None:
    assert told in refusal(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "host: missing"),
        ('host = "h"\nroto = "/x"', "roto: there is no such key; did you mean root?"),
        ('host = "h"\n[mlfow]\nport = 1', "mlfow: there is no such table; did you mean mlflow?"),
        ('host = "h"\n[mlflow]\nprot = 1', "mlflow.prot: there is no such key; did you mean port?"),
        ('host = "h"\nport = 1', "port: there is no such key; did you mean mlflow.port?"),
        (
            'host = "h"\n[mlflow]\nscope = "user"',
            "mlflow.scope: there is no such key; did you mean scope, above the first",
        ),
        ('host = "h"\n[auth]\nbucket = "CANARY"', "auth.bucket: there is no such key; known here: admin_username"),
        ('host = "h"\n"a\\nb\\u001b" = 1', "'a\\nb\\x1b': there is no such key"),
        ('host = "h"\n"' + "x" * 9000 + '" = 1', "…': there is no such key"),
        ("host = 5", "host: expected text in quotes and found a whole number (5)"),
        ('host = "h"\n[mlflow]\nport = "5000"', "mlflow.port: expected a whole number and found text ('5000')"),
        ('host = "h"\n[mlflow]\nport = true', "mlflow.port: expected a whole number and found true or false (true)"),
        ('host = "h"\n[mlflow]\nworkers = 1.5', "mlflow.workers: expected a whole number and found a fraction (1.5)"),
        ('host = "h"\n[mlflow]\njob_execution = 1', "mlflow.job_execution: expected true or false and found a whole"),
        ('host = "h"\n[mlflow]\nallowed_hosts = "a"', "mlflow.allowed_hosts: expected a list of texts and found text"),
        (
            'host = "h"\n[mlflow]\nallowed_hosts = [1]',
            "mlflow.allowed_hosts: expected a list of texts and found a list",
        ),
        (
            'host = "h"\n[mlflow]\nversion = 2026-11-21',
            "mlflow.version: expected text in quotes and found a date or time",
        ),
        ('host = "h"\nauth = "CANARY"', "auth: expected a table, [auth], and found text"),
        ('host = "h"\n[[auth]]\nx = "CANARY"', "auth: expected a table, [auth], and found a list"),
        ('host = "h"\n[host]\n', "not valid TOML"),
        (
            'host = "h"\nname = "staging"',
            "name: 'staging' is not what the file is called: rename the file, or write 'prod'",
        ),
        ('host = "h"\n[mlflow]\nport = 0x' + "f" * 9000, "a huge number is not a port"),
        ('host = "h"\nscope = 0x' + "f" * 9000, "a whole number (a huge number)"),
    ],
)
def test_what_is_no_deployment(tmp_path: Path, text: str, told: str) -> None:
    message = refusal(written(tmp_path, text))
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "key", "secret"),
    [
        ('admin_password = "CANARY"', "admin_password", "admin_password"),
        ("password = 1234", "password", "admin_password"),
        ('[auth]\npassword = "CANARY"', "auth.password", "admin_password"),
        ('[auth]\nadmin-password = "CANARY"', "auth.admin-password", "admin_password"),
        ('[artifacts]\naws_secret_access_key = "CANARY"', "artifacts.aws_secret_access_key", "aws_secret_access_key"),
        ('[artifacts]\nACCESS_KEY_ID = "CANARY"', "artifacts.ACCESS_KEY_ID", "aws_access_key_id"),
        ('[aws]\nsecret_access_key = "CANARY"', "aws.secret_access_key", "aws_secret_access_key"),
        ('[aws]\nsession.token = "CANARY"', "aws.session.token", "aws_session_token"),
        ('secret = "CANARY"', "secret", "admin_password, aws_access_key_id"),
    ],
)
def test_a_secret_in_the_wrong_file(tmp_path: Path, text: str, key: str, secret: str) -> None:
    message = refusal(written(tmp_path, f'host = "h"\n{text}'))
    assert f"{key}: a secret does not belong in this file: move it to prod.secrets.toml, as {secret}" in message
    assert "1234" not in message


def test_every_problem_is_told_once(tmp_path: Path) -> None:
    path = written(tmp_path, 'nam = "x"\nscope = "usr"\n[mlflow]\nport = true\nversion = "three"\nworkers = 0\n')
    message = refusal(path)
    assert message.startswith(f"{path} has 6 problems:\n")
    keys = [line.strip().partition(":")[0] for line in message.splitlines()[1:]]
    assert sorted(keys) == ["host", "mlflow.port", "mlflow.version", "mlflow.workers", "nam", "scope"]


@pytest.mark.parametrize("name", ["Prod", "a b", "$(reboot)", "prod.v2"])
def test_the_file_name_is_the_name(tmp_path: Path, name: str) -> None:
    assert f"name: '{name}' cannot be used" in refusal(written(tmp_path, 'host = "h"', name))


def test_two_wrong_names_are_one_problem(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, 'host = "h"\nname = "prod"', "Prod"))
    assert message.count("name: ") == 1


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml") == f"cannot read {tmp_path / 'none.toml'}: no such file or directory"
    assert "is a directory" in refusal(tmp_path)
