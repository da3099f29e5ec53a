"""Where deployment files are, and which one is meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_provision.config import (
    Deployment,
    Secrets,
    config_dir,
    deployment_path,
    find,
    forget,
    names,
    save,
    save_secrets,
    secrets_path,
)
from mlflow_provision.errors import ExitCode, ProvisionError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_PROVISION_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def three(folder: Path) -> None:
    for name in ("server", "prod", "staging"):
        save(Deployment(name=name, host="h"), folder / f"{name}.toml")
    save_secrets(folder / "prod.toml", Secrets(aws_access_key_id="AKIA", aws_secret_access_key="s"))
    (folder / ".prod.toml.1.tmp").touch()
    (folder / ".hidden.toml").touch()
    (folder / "notes.txt").touch()
    (folder / "folder.toml").mkdir()


def refusal(name_or_path: str) -> ProvisionError:
    with pytest.raises(ProvisionError) as caught:
        find(name_or_path)
    assert caught.value.code == ExitCode.USAGE
    return caught.value


def test_the_folder_is_that_of_the_operating_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_PROVISION_CONFIG_DIR")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_dir().name == "mlflow-provision"
    assert tmp_path in config_dir().parents
    monkeypatch.setenv("MLFLOW_PROVISION_CONFIG_DIR", "~/mine")
    assert config_dir() == tmp_path / "mine"


def test_no_folder_no_names(folder: Path) -> None:
    assert names() == []
    assert not folder.exists()


def test_names_are_sorted_and_are_deployments(three: None) -> None:
    assert names() == ["prod", "server", "staging"]


def test_find_by_name_and_by_path(three: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("prod") == folder / "prod.toml"
    assert find(str(folder / "prod.toml")) == folder / "prod.toml"
    monkeypatch.chdir(folder)
    assert find("prod.toml").samefile(folder / "prod.toml")
    assert find("./prod.toml").samefile(folder / "prod.toml")


def test_what_is_not_there(three: None, folder: Path) -> None:
    error = refusal("pord")
    assert error.message == "there is no deployment 'pord': there is prod, server or staging; did you mean prod?"
    assert error.hint == "mlflow-provision list"
    assert "did you mean" not in refusal("zzz").message
    assert "does not exist" in refusal("nowhere/prod.toml").message
    assert "does not exist" in refusal("nowhere/\x00.toml").message
    assert "file name too long" in refusal("x" * 100_000 + ".toml").message
    assert "is not a file" in refusal(str(folder / "folder.toml")).message
    assert str(folder / "prod.toml") in refusal(str(folder / "prod.secrets.toml")).message


def test_nothing_is_there() -> None:
    error = refusal("prod")
    assert "there are none in" in error.message
    assert error.hint == "make one: mlflow-provision setup user@host"


@pytest.mark.parametrize("nasty", ["a\nb", "$(reboot)", "\x1b[2J", "../prod", "é", "x" * 100_000, "", "prod.secrets"])
def test_nasty_names(three: None, nasty: str) -> None:
    message = refusal(nasty).message
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) < 400
    with pytest.raises(ProvisionError, match="name: "):
        deployment_path(nasty)


def test_paths(folder: Path) -> None:
    assert deployment_path("prod") == folder / "prod.toml"
    assert secrets_path(folder / "prod.toml") == folder / "prod.secrets.toml"


def test_forget(three: None, folder: Path) -> None:
    forget(folder / "prod.toml")
    forget(folder / "prod.toml")
    assert names() == ["server", "staging"]
    assert not list(folder.glob("*prod*"))


def test_what_cannot_be_deleted(three: None, folder: Path) -> None:
    with pytest.raises(ProvisionError, match="cannot delete"):
        forget(folder / "folder.toml")


def test_importing_is_cheap() -> None:
    """Help and shell completion import this: nothing that reads or writes files comes along."""
    heavy = "{'tomllib', 'tomli', 'tomlkit', 'platformdirs', 'secrets', 'difflib'}"
    program = f"import sys, mlflow_provision.config; sys.exit(repr({heavy} & set(sys.modules) or ''))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == "''"
