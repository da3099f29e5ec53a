"""The answers of an interrupted setup: kept without secrets, and read again."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from mlflow_provision.config import Deployment, Secrets, deployment_path, names, save, save_secrets
from mlflow_provision.errors import ProvisionError
from mlflow_provision.host import LocalHost
from mlflow_provision.wizard.answers import Answers, forget_kept, keep, kept, kept_path
from mlflow_provision.wizard.reality import Reality
from mlflow_provision.wizard.world import aliases


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_PROVISION_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


def test_what_was_answered_comes_back_and_no_secret_with_it() -> None:
    answers = Answers(
        keys={"host": "ubuntu@host", "mlflow.port": 5050, "mlflow.allowed_hosts": ("a", "b")},
        done={"where.host", "network.port"},
        notes={"place": "s3"},
        secrets=Secrets("CANARY-password", "CANARY-id", "CANARY-secret"),
    )
    keep(answers)
    again = kept()
    assert (again.keys, again.done, again.notes, again.adopt) == (answers.keys, answers.done, answers.notes, False)
    assert again.secrets == Secrets()
    assert "CANARY" not in kept_path().read_text()
    assert kept_path().stat().st_mode & 0o777 == 0o600
    assert names() == []


def test_a_deployment_that_is_changed_comes_back_with_its_file() -> None:
    base = Deployment("prod", "ubuntu@host")
    save(base, deployment_path("prod"))
    keep(Answers(base=base))
    assert kept().base == base


def test_nothing_kept_says_how_to_begin() -> None:
    with pytest.raises(ProvisionError, match="no interrupted setup") as caught:
        kept()
    assert "mlflow-provision setup" in caught.value.hint
    forget_kept()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"keys": 1, "done": [], "adopt": 0, "notes": {}, "base": ""}'])
def test_a_damaged_file_says_so(text: str) -> None:
    keep(Answers())
    kept_path().write_text(text)
    with pytest.raises(ProvisionError, match="is damaged"):
        kept()


def test_secrets_beside_a_file_that_config_named_are_known(tmp_path: Path) -> None:
    """Our own file may be a link to one in a repository, with secrets beside that one."""
    elsewhere = tmp_path / "repository" / "prod.toml"
    elsewhere.parent.mkdir()
    save(Deployment("prod", "ubuntu@host"), elsewhere)
    save_secrets(elsewhere, Secrets("correct horse battery"))
    deployment_path("prod").parent.mkdir(exist_ok=True)
    deployment_path("prod").symlink_to(elsewhere)
    reality = Reality(lambda deployment: LocalHost(), lambda title: nullcontext())
    assert reality.secrets("prod").admin_password == "correct horse battery"


def test_aliases_of_the_ssh_configuration(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a").write_text("Host inner\n  HostName x\n")
    (tmp_path / "config").write_text(
        f'Include "{tmp_path}/more/*"\nHost gpu tracking  # ours\nhost=equals\nHost * !no b?d\nMatch host z\n'
    )
    assert aliases(tmp_path / "config") == ["inner", "gpu", "tracking", "equals"]
    assert aliases(tmp_path / "none") == []
