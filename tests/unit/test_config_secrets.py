"""Secrets: in a file that only the operator can open, or in the environment; never in an error."""

from __future__ import annotations

import os
import stat
import string
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_provision.config import (
    ENVIRONMENT,
    Artifacts,
    Deployment,
    Secrets,
    generate_password,
    load_secrets,
    missing_secrets,
    password_problem,
    save_secrets,
    secrets_path,
)
from mlflow_provision.errors import ExitCode, ProvisionError

ALL = Secrets(
    admin_password="CANARY password",
    aws_access_key_id="AKIACANARY",
    aws_secret_access_key="CANARY/se+cret",
    aws_session_token="CANARYtoken==",
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ENVIRONMENT.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def prod(tmp_path: Path) -> Path:
    return tmp_path / "prod.toml"


def written(prod: Path, text: str, mode: int = 0o600) -> Path:
    path = secrets_path(prod)
    path.write_text(text)
    path.chmod(mode)
    return path


def refusal(prod: Path) -> ProvisionError:
    with pytest.raises(ProvisionError) as caught:
        load_secrets(prod)
    error = caught.value
    assert "CANARY" not in error.message + error.hint
    assert error.__cause__ is None
    assert error.__context__ is None
    assert error.code == ExitCode.USAGE
    return error


def test_no_secrets(prod: Path) -> None:
    assert load_secrets(prod) == Secrets()
    save_secrets(prod, Secrets())
    assert not secrets_path(prod).exists()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_saved_is_loaded_and_nobody_else_can_open_it(prod: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        save_secrets(prod, ALL)
    finally:
        os.umask(old)
    assert load_secrets(prod) == ALL
    assert stat.S_IMODE(secrets_path(prod).stat().st_mode) == 0o600
    assert [path.name for path in prod.parent.iterdir()] == ["prod.secrets.toml"]


def test_at_no_moment_can_others_open_it(prod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    real = os.fsync

    def look(descriptor: int) -> None:
        modes.append(os.fstat(descriptor).st_mode)
        real(descriptor)

    real_open, opened = os.open, []

    def look_at_open(path: Path, flags: int, mode: int = 0o777, **other: int) -> int:
        descriptor = real_open(path, flags, mode, **other)
        if flags & os.O_CREAT:
            opened.append(os.fstat(descriptor).st_mode)
        return descriptor

    monkeypatch.setattr(os, "fsync", look)
    monkeypatch.setattr(os, "open", look_at_open)
    old = os.umask(0)
    try:
        save_secrets(prod, ALL)
    finally:
        os.umask(old)
    assert [stat.S_IMODE(mode) for mode in opened] == [0o600]
    assert [stat.S_IMODE(mode) for mode in modes if stat.S_ISREG(mode)] == [0o600]


def test_a_file_left_by_a_crash_is_not_reused(prod: Path) -> None:
    trap = prod.parent / f".prod.secrets.toml.{os.getpid()}.tmp"
    trap.write_text("old")
    trap.chmod(0o666)
    save_secrets(prod, ALL)
    assert not trap.exists()
    assert load_secrets(prod) == ALL


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o622, 0o610])
def test_a_file_that_others_can_open_is_refused(prod: Path, mode: int) -> None:
    path = written(prod, 'admin_password = "CANARY password"\n', mode)
    error = refusal(prod)
    assert str(path) in error.message
    assert error.hint == f"chmod 600 {path}"


def test_the_command_to_type_is_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "it's $(mine)"
    folder.mkdir()
    written(folder / "prod.toml", "", 0o644)
    with pytest.raises(ProvisionError) as caught:
        load_secrets(folder / "prod.toml")
    assert caught.value.hint.startswith("chmod 600 '")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('admin_password = "CANARY', "prod.secrets.toml is not valid TOML: at its end"),
        ("\nadmin_password = CANARY", "line 2, column 18"),
        ('CANARY = "x"\nCANARY = "y"\n', "line 2"),
        ('admin_pasword = "CANARY"', "admin_pasword: there is no such secret; did you mean admin_password?"),
        ("admin_password = 123456789012", "admin_password: expected text in quotes and found a whole number"),
        ('[aws]\naws_access_key_id = "CANARY"', "aws: there is no such secret"),
        ('admin_password = "CANARY"', "admin_password: has 6 characters: MLflow wants at least 12"),
        ('admin_password = "CANARY\\nCANARY"', "admin_password: has a line break"),
        ('aws_secret_access_key = "CANARY\\n[default]"', "aws_secret_access_key: has a space, a line break"),
        ('aws_access_key_id = "CANARY CANARY"', "aws_access_key_id: has a space"),
        ('aws_session_token = "' + "CANARY" * 1000 + '"', "aws_session_token: is longer than 4096"),
    ],
)
def test_a_bad_file_is_told_without_its_secrets(prod: Path, text: str, told: str) -> None:
    written(prod, text)
    message = refusal(prod).message
    assert told in message
    assert "123456789012" not in message


def test_the_environment_wins_and_is_not_written(prod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_secrets(prod, Secrets(admin_password="from the file"))
    monkeypatch.setenv("MLFLOW_PROVISION_ADMIN_PASSWORD", "from the environment")
    monkeypatch.setenv("MLFLOW_PROVISION_AWS_SESSION_TOKEN", "")
    secrets = load_secrets(prod)
    assert secrets == Secrets(admin_password="from the environment")
    save_secrets(prod, secrets)
    assert "environment" not in secrets_path(prod).read_text()
    monkeypatch.delenv("MLFLOW_PROVISION_ADMIN_PASSWORD")
    assert load_secrets(prod) == Secrets(admin_password="from the file")


def test_an_empty_variable_is_none(prod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CI systems set those where a secret is not given to a run."""
    save_secrets(prod, ALL)
    for variable in ENVIRONMENT.values():
        monkeypatch.setenv(variable, "")
    assert load_secrets(prod) == ALL


def test_what_only_the_environment_says_makes_no_file(prod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_PROVISION_ADMIN_PASSWORD", "from the environment")
    save_secrets(prod, load_secrets(prod))
    assert not secrets_path(prod).exists()


def test_a_new_secret_replaces_the_old_one_though_the_environment_has_another(
    prod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_secrets(prod, Secrets(admin_password="from the file"))
    monkeypatch.setenv("MLFLOW_PROVISION_ADMIN_PASSWORD", "from the environment")
    save_secrets(prod, Secrets(admin_password="the third one"))
    assert "the third one" in secrets_path(prod).read_text()


def test_a_key_of_the_environment_is_not_mixed_with_one_of_the_file(
    prod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_secrets(prod, ALL)
    monkeypatch.setenv("MLFLOW_PROVISION_AWS_ACCESS_KEY_ID", "AKIANEW")
    monkeypatch.setenv("MLFLOW_PROVISION_AWS_SECRET_ACCESS_KEY", "new")
    secrets = load_secrets(prod)
    assert secrets == Secrets(ALL.admin_password, "AKIANEW", "new", "")
    save_secrets(prod, replace(secrets, admin_password="a new password"))
    for variable in ENVIRONMENT.values():
        monkeypatch.delenv(variable, raising=False)
    assert load_secrets(prod) == replace(ALL, admin_password="a new password")


@pytest.mark.parametrize("variable", sorted(ENVIRONMENT.values()))
def test_a_bad_variable_is_named_and_not_repeated(prod: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "CANARY\nCANARY")
    assert f"{variable}: " in refusal(prod).message


def test_comments_stay(prod: Path) -> None:
    path = written(prod, '# rotate in May\nadmin_password = "from the file" # Jane\n')
    save_secrets(prod, Secrets(admin_password="from the tests", aws_access_key_id="AKIA"))
    assert path.read_text() == (
        '# rotate in May\nadmin_password = "from the tests" # Jane\naws_access_key_id = "AKIA"\n'
    )


def test_bad_secrets_are_not_saved(prod: Path) -> None:
    with pytest.raises(ProvisionError) as caught:
        save_secrets(prod, Secrets(admin_password="CANARY", aws_secret_access_key="CANARY\nCANARY"))
    assert "CANARY" not in caught.value.message
    assert not secrets_path(prod).exists()


def test_saving_nothing_empties_the_file(prod: Path) -> None:
    save_secrets(prod, ALL)
    save_secrets(prod, Secrets())
    assert "CANARY" not in secrets_path(prod).read_text()
    assert load_secrets(prod) == Secrets()


def test_secrets_do_not_show_when_printed() -> None:
    assert "CANARY" not in repr(ALL)


def test_what_a_deployment_with_keys_cannot_do_without() -> None:
    deployment = Deployment("prod", "h", artifacts=Artifacts(destination="s3://bucket", credentials="keys"))
    assert missing_secrets(deployment, ALL) == []
    assert missing_secrets(Deployment("prod", "h"), Secrets()) == []
    assert missing_secrets(deployment, Secrets(aws_access_key_id="AKIA")) == [
        "aws_secret_access_key: missing: write it to prod.secrets.toml, or set MLFLOW_PROVISION_AWS_SECRET_ACCESS_KEY"
    ]


@pytest.mark.parametrize(
    ("password", "told"),
    [
        ("", "0 characters"),
        ("elevenchars", "at least 12"),
        ("password1234", "everybody knows"),
        ("twelve chars\n", "line break"),
        ("twelve\x00chars", "control character"),
        ("twelve\x7fchars", "control character"),
        ("zwölf Zeichen und mehr", "not ASCII"),
        (" twelve characters", "space"),
        ("x" * 257, "at most 256"),
    ],
)
def test_passwords_that_mlflow_or_its_clients_would_not_take(password: str, told: str) -> None:
    problem = password_problem(password)
    assert problem is not None
    assert told in problem


@pytest.mark.parametrize("password", ["twelve chars", "100% 'quoted' \"$(x)\" \\ # ; :", "x" * 256])
def test_passwords_that_are_fine(password: str) -> None:
    assert password_problem(password) is None


def test_generated_passwords() -> None:
    passwords = {generate_password() for _ in range(200)}
    assert len(passwords) == 200
    used = set("".join(passwords)) - {"-"}
    assert len(used) ** 24 > 2**120
    assert used <= set(string.ascii_letters + string.digits) - set("0Oo1lI")
    for password in passwords:
        assert password_problem(password) is None
        assert [len(group) for group in password.split("-")] == [6, 6, 6, 6]
