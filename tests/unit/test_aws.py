"""The keys of a profile in ~/.aws: found, missing, or of a kind that a server cannot live on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_provision.aws import profile_keys, profile_names
from mlflow_provision.errors import ExitCode, ProvisionError

AwsFiles = Callable[[str, str], None]
KEY = "aws_access_key_id = AKIACANARY\naws_secret_access_key = CANARY/se+cret%s\n"


@pytest.fixture
def aws_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AwsFiles:
    """Write ~/.aws/credentials and ~/.aws/config of a home of our own."""
    for variable in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    def write(credentials: str, config: str) -> None:
        (tmp_path / "credentials").write_text(credentials)
        (tmp_path / "config").write_text(config)

    return write


def refusal(profile: str) -> ProvisionError:
    with pytest.raises(ProvisionError) as caught:
        profile_keys(profile)
    assert "CANARY" not in caught.value.message + caught.value.hint
    assert caught.value.__cause__ is None
    assert caught.value.code == ExitCode.USAGE
    return caught.value


def test_keys_and_region_of_a_profile(aws_files: AwsFiles) -> None:
    aws_files(f"[basketworld]\n{KEY}[other]\n", "[profile basketworld]\nregion = us-west-1\n")
    keys = profile_keys("basketworld")
    assert (keys.access_key_id, keys.secret_access_key, keys.region) == ("AKIACANARY", "CANARY/se+cret%s", "us-west-1")
    assert "CANARY" not in repr(keys)
    assert profile_names() == ["basketworld", "other"]


def test_keys_may_be_in_the_config_file_and_the_profile_the_default_one(aws_files: AwsFiles) -> None:
    aws_files("", f"[default]\n{KEY}")
    assert profile_keys("default").region == ""


def test_the_environment_is_somebody_elses_key(aws_files: AwsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    aws_files(f"[basketworld]\n{KEY}", "")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.setenv("AWS_PROFILE", "gone")
    assert profile_keys("basketworld").access_key_id == "AKIACANARY"


def test_an_unknown_profile_names_the_known_ones(aws_files: AwsFiles) -> None:
    aws_files(f"[basketworld]\n{KEY}[other]\n", "")
    error = refusal("basket-world")
    assert "there is basketworld or other; did you mean basketworld?" in error.message
    assert error.hint == "aws configure --profile basket-world"


def test_no_profile_at_all(aws_files: AwsFiles) -> None:
    assert "none is in ~/.aws" in refusal("basketworld").message


@pytest.mark.parametrize("profile", ["$(reboot)", "a'b", "a\nb", "a b", ""])
def test_a_nasty_name_is_not_put_into_a_command_to_type(aws_files: AwsFiles, profile: str) -> None:
    error = refusal(profile)
    assert error.hint == "aws configure --profile PROFILE"
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("line", "how"),
    [
        ("role_arn = arn:aws:iam::1:role/r\nsource_profile = default", "assumes a role"),
        ("sso_session = corp", "IAM Identity Center"),
        ("sso_start_url = https://corp.awsapps.com/start", "IAM Identity Center"),
        ("login_session = arn:aws:iam::1:user/u", "aws login"),
        ("credential_process = /bin/get-keys", "asks a program"),
        ("web_identity_token_file = /run/token", "web identity token"),
        ("aws_session_token = CANARY", "session token"),
    ],
)
@pytest.mark.parametrize("keys", ["", KEY])
def test_keys_that_expire_are_refused(aws_files: AwsFiles, line: str, how: str, keys: str) -> None:
    aws_files("", f"[profile p]\n{line}\n{keys}")
    error = refusal("p")
    assert how in error.message
    assert "expire" in error.message
    assert "--instance-role" in error.hint


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("region = us-west-1\n", "the access key id of the AWS profile 'p' is missing"),
        ("aws_access_key_id = AKIACANARY\n", "the secret access key of the AWS profile 'p' is missing"),
        ("aws_access_key_id = AKIACANARY\naws_secret_access_key =\n", "is missing"),
        ("aws_access_key_id = AKIACANARY\naws_secret_access_key = CANARY CANARY\n", "has a space"),
        ("aws_access_key_id = AKIACANARY\naws_secret_access_key = CANARY\n  CANARY\n", "a line break"),
        ("aws_access_key_id = CANARYé\naws_secret_access_key = CANARY\n", "that no key has"),
    ],
)
def test_keys_that_are_none(aws_files: AwsFiles, section: str, told: str) -> None:
    aws_files(f"[p]\n{section}", "")
    error = refusal("p")
    assert told in error.message
    assert error.hint == "aws configure --profile p"


@pytest.mark.parametrize("content", ["aws_secret_access_key = CANARY\n", "[p]\nCANARY\n", "[p]\n[p]\n"])
def test_a_broken_file_is_named_and_not_quoted(aws_files: AwsFiles, tmp_path: Path, content: str) -> None:
    aws_files(content, "")
    error = refusal("p")
    assert error.message.startswith(f"{tmp_path / 'credentials'} is not a file")


def test_botocore_is_imported_only_when_a_profile_is_read() -> None:
    program = "import sys, mlflow_provision.aws; sys.exit('botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
