"""An old server is found by its unit or its folder, and all of its settings are read; no secret is among them."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent import adoption
from mlflow_provision.agent.adoption import aws, processes
from mlflow_provision.agent.adoption.unit import unit_at

USER = getpass.getuser()
SECRETS = ("CANARY-flask", "CANARY-admin", "CANARY/aws/secret", "AKIACANARY")
SCRIPT = """#!/bin/bash
cd "$(dirname "$0")"
source venv/bin/activate
export MLFLOW_AUTH_CONFIG_PATH="$PWD/.mlflow_auth_config"
export MLFLOW_FLASK_SERVER_SECRET_KEY=CANARY-flask AWS_PROFILE=ml AWS_SHARED_CREDENTIALS_FILE=$PWD/credentials
exec mlflow server --backend-store-uri sqlite:///mlflow.db --app-name basic-auth \\
    --host 0.0.0.0 --port 5050 --artifacts-destination s3://bucket/ml --allowed-hosts "mlflow.example.com:*,*.local"
"""
AUTH = """[mlflow]
default_permission = edit
database_uri = sqlite:///users.db
admin_username = boss
admin_password = CANARY-admin
"""
CREDENTIALS = """[default]
aws_access_key_id = wrong
[ml]
aws_access_key_id = AKIACANARY
aws_secret_access_key = CANARY/aws/secret
region = eu-central-1
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder and the unit of an old server that does not run."""
    folder = tmp_path / "home/ada/mlflow-server"
    (folder / "venv/lib/python3.11/site-packages/mlflow-3.12.0.dist-info").mkdir(parents=True)
    (folder / "venv/lib/python3.11/site-packages/mlflow_skinny-3.1.0.dist-info").mkdir()
    for name, text in {
        "start_mlflow_server.sh": SCRIPT,
        ".mlflow_auth_config": AUTH,
        "credentials": CREDENTIALS,
        "mlflow.db": "",
    }.items():
        (folder / name).write_text(text)
    units = tmp_path / "units"
    units.mkdir()
    unit = f"[Service]\nUser={USER}\nExecStart={folder}/start_mlflow_server.sh\nWorkingDirectory={folder}\n"
    (units / "mlflow-server.service").write_text(unit)
    (units / "other.service").write_text("[Service]\nExecStart=/bin/true\n")
    monkeypatch.setattr(adoption, "UNITS", str(units))
    monkeypatch.setattr(adoption, "TREES", (str(tmp_path / "home/*/mlflow-server"),))
    monkeypatch.setattr(processes, "running_server", lambda unit, tree: None)
    return folder


def known(tree: Path, ours: bool = False) -> dict[str, Any]:
    return adoption.known(str(tree.parents[2] / "opt/server"), ours)


def test_all_settings_are_read(tree: Path) -> None:
    found = known(tree)
    assert found["adoption"] == ""
    old = found["old_server"]
    assert old == {
        "unit": "mlflow-server.service",
        "unit_file": str(tree.parents[2] / "units/mlflow-server.service"),
        "tree": str(tree),
        "folder": str(tree),
        "user": USER,
        "running": False,
        "pid": 0,
        "venv": str(tree / "venv"),
        "version": "3.12.0",
        "port": 5050,
        "listen": "0.0.0.0",
        "allowed_hosts": ["mlflow.example.com:*", "*.local"],
        "store": "sqlite",
        "database": str(tree / "mlflow.db"),
        "auth": {
            "on": True,
            "config": str(tree / ".mlflow_auth_config"),
            "database": str(tree / "users.db"),
            "admin_username": "boss",
            "default_permission": "EDIT",
        },
        "proxied": True,
        "artifacts": "s3://bucket/ml",
        "served": "s3://bucket/ml",
        "special": [],
        "aws": {
            "profile": "ml",
            "region": "eu-central-1",
            "endpoint_url": "",
            "credentials": "keys",
            "problem": "",
        },
    }
    assert not [secret for secret in SECRETS if secret in json.dumps(found)]


def test_a_folder_without_a_unit_is_found_too(tree: Path) -> None:
    (tree.parents[2] / "units/mlflow-server.service").unlink()
    old = known(tree)["old_server"]
    assert (old["unit"], old["tree"], old["port"]) == ("", str(tree), 5050)


def test_the_folder_of_a_unit_without_a_script(tree: Path) -> None:
    unit = tree.parents[2] / "units/mlflow-server.service"
    start = f"ExecStart={tree}/venv/bin/mlflow server --port 7"
    unit.write_text(f"[Service]\n{start}\nWorkingDirectory={tree}/data\n")
    old = known(tree)["old_server"]
    assert (old["tree"], old["folder"], old["port"]) == (f"{tree}/data", f"{tree}/data", 7)
    unit.write_text(f"[Service]\n{start}\n")
    assert known(tree)["old_server"]["tree"] == str(tree)


def test_what_is_ours_or_was_adopted_is_not_offered_again(tree: Path) -> None:
    assert known(tree, ours=True) == {"old_server": None, "adoption": ""}
    journal = tree.parents[2] / "opt/another/adopted/adoption.json"
    journal.parent.mkdir(parents=True)
    journal.write_text(json.dumps({"phase": "adopted", "old": {"tree": str(tree)}}))
    (tree.parents[2] / "units/mlflow-server.service").write_text("# Managed by mlflow-provision\nmlflow")
    assert known(tree)["old_server"] is None
    journal.write_text(json.dumps({"phase": "rolled-back", "old": {"tree": str(tree)}}))
    assert known(tree)["old_server"]["tree"] == str(tree)


@pytest.mark.parametrize("phase", ["stopping", "moving", "starting", "rolling-back"])
def test_an_interrupted_adoption_is_known_by_its_journal(tree: Path, phase: str) -> None:
    journal = tree.parents[2] / "opt/server/adopted/adoption.json"
    journal.parent.mkdir(parents=True)
    journal.write_text(json.dumps({"phase": phase, "old": {"tree": "as it was"}}))
    assert known(tree, ours=True) == {"old_server": {"tree": "as it was"}, "adoption": phase}
    journal.write_text("{ half")
    assert known(tree)["adoption"] == ""


@pytest.mark.parametrize(
    ("options", "proxied", "artifacts", "served"),
    [
        ("", True, "T/mlartifacts", "T/mlartifacts"),
        ("--serve-artifacts", True, "T/mlartifacts", "T/mlartifacts"),
        ("--artifacts-destination /data/a", True, "/data/a", "/data/a"),
        ("--artifacts-destination file:///data/a%20b", True, "/data/a b", "/data/a b"),
        ("--no-serve-artifacts", False, "T/mlruns", ""),
        ("--default-artifact-root ./mlruns", False, "T/mlruns", "T/mlartifacts"),
        ("--default-artifact-root s3://b/p --no-serve-artifacts", False, "s3://b/p", ""),
        ("--default-artifact-root mlflow-artifacts:/ --artifacts-destination gs://b", True, "gs://b", "gs://b"),
    ],
)
def test_where_artifacts_are(tree: Path, options: str, proxied: bool, artifacts: str, served: str) -> None:
    script = f"cd {tree}\nmlflow server --backend-store-uri sqlite:///mlflow.db {options}"
    (tree / "start_mlflow_server.sh").write_text(script)
    old = known(tree)["old_server"]
    expected = (proxied, artifacts.replace("T/", f"{tree}/"), served.replace("T/", f"{tree}/"))
    assert (old["proxied"], old["artifacts"], old["served"]) == expected


@pytest.mark.parametrize(
    ("options", "special"),
    [
        ("--static-prefix /ml", ["--static-prefix /ml"]),
        ("--gunicorn-opts '--certfile a --keyfile b'", ["--gunicorn-opts with a certificate"]),
        ("--gunicorn-opts '--timeout 60'", []),
    ],
)
def test_what_ours_does_not_have_is_told(tree: Path, options: str, special: list[str]) -> None:
    (tree / "start_mlflow_server.sh").write_text(f"mlflow server {options}")
    assert known(tree)["old_server"]["special"] == special


@pytest.mark.parametrize(
    ("uri", "store", "database"),
    [
        ("sqlite:///mlflow.db", "sqlite", "T/mlflow.db"),
        ("sqlite:////data/m.db", "sqlite", "/data/m.db"),
        ("sqlite:///sub/../x.db?timeout=3", "sqlite", "T/x.db"),
        ("postgresql+psycopg2://me:CANARY-flask@host/mlflow", "postgresql", ""),
        ("./mlruns", "files", ""),
    ],
)
def test_which_database_it_has(tree: Path, uri: str, store: str, database: str) -> None:
    (tree / "start_mlflow_server.sh").write_text(f"cd {tree}\nmlflow server --backend-store-uri '{uri}'")
    found = known(tree)
    assert (found["old_server"]["store"], found["old_server"]["database"]) == (
        store,
        database.replace("T/", f"{tree}/"),
    )
    assert "CANARY" not in json.dumps(found)


def test_a_unit_with_drop_ins_files_and_specifiers(tmp_path: Path) -> None:
    path = tmp_path / "ml.service"
    (tmp_path / "ml.service.d").mkdir()
    (tmp_path / "env").write_text("# c\nA=1\nB='two words'\n")
    path.write_text(
        "[Service]\nUser=nobody\nWorkingDirectory=-/srv\nExecStart=/bin/old\n"
        'Environment=X=1 "Y=a b"\nEnvironment=Z=%n\nExecStartPre=/bin/true\n'
    )
    (tmp_path / "ml.service.d/10.conf").write_text(
        f"[Service]\nEnvironmentFile=-{tmp_path}/env\nUser={USER}\nExecStart=\n"
        "ExecStart=-/v/bin/mlflow server \\\n  --port 1\n"
    )
    unit = unit_at(str(path))
    assert (unit.user, unit.folder) == (USER, "/srv")
    assert unit.arguments == ["/v/bin/mlflow", "server", "--port", "1"]
    assert unit.environment == {"X": "1", "Y": "a b", "Z": "ml.service", "A": "1", "B": "two words"}


@pytest.mark.parametrize(
    ("section", "environment", "credentials", "problem"),
    [
        ("aws_access_key_id=a\naws_secret_access_key=b", {}, "keys", ""),
        ("", {}, "instance-role", ""),
        ("", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, "keys", ""),
        ("", {"AWS_PROFILE": "gone"}, "", "its AWS profile gone is not in ~/.aws of ada"),
        ("role_arn=arn:x\nsource_profile=y", {}, "", "gets keys by role_arn"),
        ("aws_access_key_id=a\naws_secret_access_key=b\naws_session_token=c", {}, "", "expire within hours"),
    ],
)
def test_how_it_uses_its_bucket(
    tmp_path: Path, section: str, environment: dict[str, str], credentials: str, problem: str
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(f"[default]\n{section}\n")
    found = aws.settings({"HOME": str(tmp_path), **environment}, "ada")
    assert found["credentials"] == credentials
    assert problem in found["problem"]
    assert bool(problem) == bool(found["problem"])
