"""What people type and write into files: refused with its place and the way out, or carried to the host as data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.operator import Operator, on
from tests.e2e.traces import untouched
from tests.lab import LabHost

TRAP = Path("/tmp/pwned")
TRAPS = [
    "$(touch /tmp/pwned)",
    "`touch /tmp/pwned`",
    "x; touch /tmp/pwned",
    "x'\"; touch /tmp/pwned; '",
    "a\ntouch /tmp/pwned",
]


@pytest.fixture
def operator(host: LabHost, tmp_path: Path) -> Operator:
    return Operator(tmp_path, host.ssh_config)


@pytest.fixture(autouse=True)
def trap(host: LabHost) -> Iterator[None]:
    """Nothing of what is typed is ever run, here or there."""
    TRAP.unlink(missing_ok=True)
    yield
    assert not TRAP.exists()
    assert not host.path(str(TRAP)).exists()


# Flags


@pytest.mark.parametrize("text", [*TRAPS, "two words", "Ünïcode", "a" * 26, "-x", "..", "", "bin"])
def test_a_name_that_is_none(host: LabHost, operator: Operator, text: str) -> None:
    with untouched(host):
        said = operator.refused("setup", on(host), "--yes", f"--name={text}", code=2)
    assert "Error: --name: " in said
    assert "\ntouch" not in said  # a line break in it does not break the line


@pytest.mark.parametrize("text", TRAPS)
@pytest.mark.parametrize(
    "flag",
    ["--artifacts", "--admin-username", "--allowed-host", "--index-url", "--listen", "--mlflow-version"],
)
def test_a_value_that_is_none(host: LabHost, operator: Operator, flag: str, text: str) -> None:
    said = operator.refused("setup", on(host), "--yes", flag, text, code=2)
    assert f"Error: {flag}" in said


@pytest.mark.parametrize("text", TRAPS)
@pytest.mark.parametrize("flag", ["--region", "--endpoint-url", "--aws-profile"])
def test_a_value_for_a_bucket_that_is_none(host: LabHost, operator: Operator, flag: str, text: str) -> None:
    bucket = ("--artifacts", "s3://bucket/prefix", "--endpoint-url", "http://192.0.2.1:9000", "--aws-profile", "work")
    said = operator.refused("setup", on(host), "--yes", *bucket, flag, text, code=2)
    assert f"Error: {flag}" in said


@pytest.mark.parametrize("prefix", [*TRAPS, "a//b", "../up", "ends/", "größe"])
def test_a_prefix_that_is_none(host: LabHost, operator: Operator, prefix: str) -> None:
    arguments = ("--artifacts", f"s3://bucket/{prefix}/x", "--instance-role")
    assert "Error: --artifacts: " in operator.refused("setup", on(host), "--yes", *arguments, code=2)


@pytest.mark.parametrize(
    "target", [*TRAPS, "$(touch /tmp/pwned)@{host}", "operator@{host}; id", "-oProxyCommand=id", "a b"]
)
def test_a_target_that_is_none(host: LabHost, operator: Operator, target: str) -> None:
    with untouched(host):
        said = operator.refused("setup", "--yes", "--", target.format(host=host.name), code=2)
    assert "Error: TARGET: " in said


def test_a_key_file_may_be_called_anything(host: LabHost, operator: Operator) -> None:
    """It is the operator's own, and its name need not please us."""
    identity = operator.home / "my $(touch pwned) 'key' `touch pwned`;x"
    shutil.copy(host.key, identity)
    operator.ssh_config = host.write_ssh_config(operator.home)
    operator.ssh_config.write_text(operator.ssh_config.read_text().replace(str(host.key), "/nonexistent"))
    operator.run("setup", on(host), "--dry-run", "--identity", str(identity))
    assert not (operator.home / "pwned").exists()
    assert not host.path("/home/operator/pwned").exists()
    said = operator.refused("setup", on(host), "--dry-run", "--identity", str(identity) + "?", code=2)
    assert "there is no SSH key" in said


def test_several_wrong_flags_are_told_at_once(host: LabHost, operator: Operator) -> None:
    said = operator.refused("setup", on(host), "--yes", "--port", "70000", "--workers", "0", "--listen", "here", code=2)
    for flag in ("--port: 70000 ", "--workers: 0 ", "--listen: 'here' "):
        assert flag in said


@pytest.mark.parametrize(
    "typed", [["setpu", "local"], ["setup", "local", "--prot", "1"], ["setup", "local", "--port", "x"]]
)
def test_what_click_refuses(operator: Operator, typed: list[str]) -> None:
    done = operator.run(*typed, code=2)
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_that_contradict_each_other(host: LabHost, operator: Operator) -> None:
    bucket = ("setup", on(host), "--yes", "--artifacts", "s3://bucket/x")
    assert "exclude each other" in operator.refused(*bucket, "--instance-role", "--aws-keys", code=2)
    assert "say how the server may use the bucket" in operator.refused(*bucket, code=2)
    assert "missing" in operator.refused(*bucket, "--aws-keys", code=2)
    assert "none is in ~/.aws" in operator.refused(*bucket, "--aws-profile", "work", code=2)


# Files

FILE = """
name = "prod"
host = "{host}"
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[mlflow\nport = 5000", "line 4, column 8"),
        ("[mlflow]\nport = 5000\nport = 5001", "is not valid TOML"),
        ("[mlflow]\nprot = 5001", "mlflow.prot: there is no such key; did you mean port?"),
        ("port = 5001", "port: there is no such key; did you mean mlflow.port?"),
        ("[artefacts]\nregion = 'x'", "artefacts: there is no such table; did you mean artifacts?"),
        ("[mlflow]\nport = '5001'", "mlflow.port: expected a whole number and found text ('5001')"),
        ("[mlflow]\nport = true", "mlflow.port: expected a whole number and found true or false"),
        ("[mlflow]\nallowed_hosts = 'a'", "mlflow.allowed_hosts: expected a list of texts and found text ('a')"),
        ("mlflow = 3", "mlflow: expected a table, [mlflow], and found a whole number"),
        ("[auth]\nadmin_password = 'canary-password'", "auth.admin_password: a secret does not belong in this file"),
        ("[auth]\ndefault_permission = 'REED'", "did you mean READ?"),
        ("[mlflow]\nversion = '3.17.2 $(touch /tmp/pwned)'", "mlflow.version: "),
        ("[mlflow]\nallowed_hosts = ['ok.example', '$(touch /tmp/pwned)']", "mlflow.allowed_hosts[1]: "),
        ("root = '/opt/$(touch /tmp/pwned)'", "root: "),
        ("root = '/'", "root: '/' belongs to the system"),
        ("[artifacts]\ndestination = '/srv/a\\nb'", "artifacts.destination: "),
    ],
)
def test_a_deployment_file_that_is_wrong(host: LabHost, operator: Operator, text: str, told: str) -> None:
    operator.config.mkdir()
    operator.toml("prod").write_text(FILE.format(host=on(host)) + text + "\n")
    with untouched(host):
        for command in (
            ["setup", "prod", "--yes"],
            ["plan", "prod"],
            ["setup", "--config", str(operator.toml("prod"))],
        ):
            said = operator.refused(*command, code=2)
            assert told in said
            assert str(operator.toml("prod")) in said
            assert "canary-password" not in said


def test_every_wrong_key_is_told(host: LabHost, operator: Operator) -> None:
    operator.config.mkdir()
    operator.toml("prod").write_text("name = 'other'\n[mlflow]\nport = 0\nprot = 1\n[auth]\nadmin_username = 'a:b'\n")
    said = operator.refused("plan", "prod", code=2)
    assert "has 5 problems" in said
    for key in ("name: ", "host: missing", "mlflow.port: ", "mlflow.prot: ", "auth.admin_username: "):
        assert key in said


def test_a_deployment_that_does_not_exist(operator: Operator) -> None:
    said = operator.refused("plan", "prod", code=2)
    assert "there is no deployment 'prod'" in said
    operator.config.mkdir()
    operator.toml("prod").write_text('name = "prod"\nhost = "local"\nscope = "user"\n')
    assert "did you mean prod?" in operator.refused("verify", "prodd", code=2)
    assert "no such file" in operator.refused("setup", "--config", "missing.toml", code=2)


# Passwords

PASSWORDS = {
    "short": "has 5 characters: MLflow wants at least 12",
    "password1234": "is the one MLflow used to ship",
    "with a\nline break": "has a line break",
    "пароль-пароль-пароль": "has a character that is not ASCII",
}


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_that_mlflow_will_refuse(host: LabHost, operator: Operator, password: str) -> None:
    operator.variables = {"MLFLOW_PROVISION_ADMIN_PASSWORD": password}
    with untouched(host):
        said = operator.refused("setup", on(host), "--yes", code=2)
    assert f"MLFLOW_PROVISION_ADMIN_PASSWORD: {PASSWORDS[password]}" in said
    assert password not in "".join(operator.shown)


def test_a_secrets_file_that_is_wrong(host: LabHost, operator: Operator) -> None:
    operator.config.mkdir()
    secrets = operator.config / "server.secrets.toml"
    secrets.touch(mode=0o600)
    for text, told in (
        ('admin_password = "short"', "admin_password: has 5 characters"),
        ('admin_pasword = "canary-password"', "did you mean admin_password?"),
        ("admin_password = 123456789012345", "expected text in quotes"),
        ('admin_password = "canary-password', "line 1"),
    ):
        secrets.write_text(text + "\n")
        with untouched(host):
            said = operator.refused("setup", on(host), "--yes", code=2)
        assert told in said
        assert str(secrets) in said
        assert "canary-password" not in said
        assert "123456789012345" not in said
    secrets.write_text('admin_password = "canary-password"\n')
    secrets.chmod(0o644)
    said = operator.refused("setup", on(host), "--yes", code=2)
    assert f"chmod 600 {secrets}" in said
    secrets.chmod(0o600)
    operator.run("setup", on(host), "--dry-run")
