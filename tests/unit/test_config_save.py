"""Writing a deployment file: nothing is lost, neither a value nor what people wrote around it."""

from __future__ import annotations

import os
import random
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_provision.config import Artifacts, Auth, Deployment, MLflow, load, save, validate
from mlflow_provision.errors import ProvisionError

NEW_FILE = """\
# One MLflow server, kept by mlflow-provision. No secret belongs in here: they are in prod.secrets.toml beside this.
# After a change: `mlflow-provision plan prod` shows what follows from it, `mlflow-provision setup prod` does it.

name = "prod"  # also the name of this file
host = "ubuntu@203.0.113.7"  # anything `ssh` takes, or "local"
scope = "system"  # "system": root and systemd; "user": ~/mlflow, without root

[mlflow]
version = "3.17.2"
port = 5000
listen = "127.0.0.1"  # the address it answers on: 127.0.0.1 is reached through a tunnel
workers = 2  # left out: from the host's memory

[artifacts]
destination = "s3://basketworld/mlflow"  # "": a folder beside the database; or s3://bucket/prefix, or /a/folder
region = "us-west-1"
credentials = "instance-role"  # "instance-role", "profile" (copied from ~/.aws) or "keys" (in the secrets file)

[auth]
admin_username = "admin"
default_permission = "READ"  # what users may do with the work of others
"""
OLD_FILE = """\
# Jane's server. Ask her before you change it.
host = 'ubuntu@203.0.113.7'   # the box under the desk

[auth]
default_permission = "EDIT"

[mlflow]  # tuned on Tuesday
port = 5_001
# two were too slow
workers = 3 # <- here
allowed_hosts = [
    "a.example.com",  # the old name
    "b.example.com",
]
"""
GOOD = Deployment(
    name="prod",
    host="ubuntu@203.0.113.7",
    mlflow=MLflow(version="3.17.2", workers=2),
    artifacts=Artifacts(destination="s3://basketworld/mlflow", region="us-west-1", credentials="instance-role"),
)


def some_deployment(dice: random.Random) -> Deployment:
    """A deployment that can be built, with every key at its default or not."""
    local = dice.random() < 0.3
    scope = dice.choice(["system", "user"]) if local else "system"
    hosts = dice.sample(["a.example.com", "10.0.0.1", "::1", "db_1"], dice.randint(0, 3))
    return Deployment(
        name="prod",
        host="local" if local else dice.choice(["alias", "u@h", "ssh://u@[::1]:22"]),
        scope=scope,
        identity_file=dice.choice(["", "~/.ssh/id", "/k/with space and 'quotes' \" and \\ é #.pem"]),
        root=dice.choice(["", "/srv/mlflow", "~/x" if scope == "user" else "/opt/x/"]),
        mlflow=MLflow(
            version=dice.choice(["3.17.2", "3.10.0", "4.0.0rc1"]),
            port=dice.choice([5000, 1024, 65535]),
            listen=dice.choice(["127.0.0.1", "0.0.0.0", "::"]),
            workers=dice.choice([None, 1, 64]),
            job_execution=dice.random() < 0.5,
            allowed_hosts=tuple(hosts),
            index_url=dice.choice(["", "https://mirror.example.com/simple/"]),
        ),
        artifacts=dice.choice(
            [
                Artifacts(),
                Artifacts(destination="/srv/artifacts"),
                Artifacts(destination="s3://bucket/p/", credentials="instance-role", region="eu-central-1"),
                Artifacts(destination="s3://bucket", credentials="profile", profile="p"),
                Artifacts(destination="s3://bucket", credentials="keys", endpoint_url="http://10.0.0.2:9000"),
            ]
        ),
        auth=Auth(dice.choice(["admin", "j@x.org"]), dice.choice(["READ", "NO_PERMISSIONS"])),
    )


@pytest.mark.parametrize("seed", range(60))
def test_what_is_written_is_read(tmp_path: Path, seed: int) -> None:
    """Into a new file, over another deployment's values, and over a file that a person wrote."""
    dice = random.Random(seed)
    path = tmp_path / "prod.toml"
    if seed % 3 == 0:
        path.write_text(OLD_FILE)
    for _ in range(6):
        deployment = some_deployment(dice)
        assert validate(deployment) == []
        save(deployment, path)
        assert load(path) == deployment


def test_a_new_file_is_readable(tmp_path: Path) -> None:
    save(GOOD, tmp_path / "prod.toml")
    assert (tmp_path / "prod.toml").read_text() == NEW_FILE


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_file_and_its_folder(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "new" / "folder" / "prod.toml"
    old = os.umask(umask)
    try:
        save(GOOD, path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["prod.toml"]


def test_saving_what_is_there_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "prod.toml"
    path.write_text(OLD_FILE)
    before = path.stat()
    save(load(path), path)
    assert path.read_text() == OLD_FILE
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_comments_and_order_stay(tmp_path: Path) -> None:
    path = tmp_path / "prod.toml"
    path.write_text(OLD_FILE)
    old = load(path)
    save(
        replace(
            old,
            identity_file="~/.ssh/jane",
            mlflow=replace(old.mlflow, workers=4, version="3.18.1"),
            artifacts=Artifacts(destination="/srv/artifacts"),
        ),
        path,
    )
    expected = OLD_FILE.replace("workers = 3 # <- here", "workers = 4 # <- here")
    expected = expected.replace(
        "under the desk\n",
        'under the desk\nidentity_file = "~/.ssh/jane"  # the SSH key, where ~/.ssh/config does not say\n',
    )
    kept = [line for line in path.read_text().splitlines() if line]
    assert [line for line in expected.splitlines() if line] == [
        line for line in kept if "version" not in line and "artifacts" not in line
    ]
    assert 'version = "3.18.1"' in kept
    assert kept[-2:][0] == "[artifacts]"


def test_a_key_that_is_not_set_any_more_goes(tmp_path: Path) -> None:
    path = tmp_path / "prod.toml"
    path.write_text(OLD_FILE)
    old = load(path)
    save(replace(old, mlflow=replace(old.mlflow, workers=None, allowed_hosts=())), path)
    text = path.read_text()
    assert "workers" not in text
    assert "allowed_hosts" not in text
    assert "# two were too slow" in text


@pytest.mark.parametrize(
    "text",
    [
        'host = "h"\nmlflow = { port = 5001 }\n',
        'host = "h"\nmlflow.port = 5001\n',
        'mlflow.port = 5001\nhost = "h"\nmlflow.workers = 2\n',
        'host = "h"\r\n\r\n[mlflow]\r\nport = 5001\r\n',
        'host = "h"\n[mlflow]',
        "host = 'h'",
    ],
)
def test_other_ways_to_write_toml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prod.toml"
    path.write_bytes(text.encode())
    old = load(path)
    new = replace(old, scope="system", mlflow=replace(old.mlflow, port=5002, workers=7), artifacts=GOOD.artifacts)
    save(new, path)
    assert load(path) == new


@pytest.mark.parametrize(
    ("deployment", "name", "told"),
    [
        (replace(GOOD, mlflow=MLflow(port=0)), "prod", "mlflow.port: 0 is not a port"),
        (replace(GOOD, host="a b"), "prod", "host: 'a b'"),
        (GOOD, "staging", "not the file of prod"),
    ],
)
def test_what_cannot_be_loaded_is_not_saved(tmp_path: Path, deployment: Deployment, name: str, told: str) -> None:
    with pytest.raises(ProvisionError) as refusal:
        save(deployment, tmp_path / f"{name}.toml")
    assert told in refusal.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ['host = "h"\nport = \n', 'host = "h"\npassword = "CANARY"\n', "mlflow = 3\n"])
def test_a_spoiled_file_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prod.toml"
    path.write_text(text)
    with pytest.raises(ProvisionError) as refusal:
        save(GOOD, path)
    assert "CANARY" not in refusal.value.message
    assert path.read_text() == text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prod.toml"
    save(GOOD, path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProvisionError, match=r"cannot write .*prod\.toml: no space left on device"):
        save(replace(GOOD, host="other"), path)
    assert path.read_text() == NEW_FILE
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """People keep these files in a repository and link to them."""
    kept = tmp_path / "repository" / "prod.toml"
    save(GOOD, kept)
    kept.chmod(0o640)
    link = tmp_path / "prod.toml"
    link.symlink_to(kept)
    save(replace(GOOD, host="other"), link)
    assert link.is_symlink()
    assert load(kept).host == "other"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
