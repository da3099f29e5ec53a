"""From a deployment's secrets to the disk: they arrive in closed files, and nowhere on the way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mlflow_provision.agent.apply import apply, plan
from mlflow_provision.agent.protocol import Event, encode
from mlflow_provision.agent.resources import Resource
from mlflow_provision.blueprint import blueprint
from tests.unit.hosts import LOCAL, OTHER_SECRETS, S3_KEYS, SECRETS, facts

DEPLOYMENT = dataclasses.replace(LOCAL, artifacts=S3_KEYS.artifacts)
# What needs a package index, a bucket or an MLflow; their own tests look for secrets in them.
ELSEWHERE = ("store", "uv", "release", "admin", "service")
CANARIES = [*dataclasses.asdict(SECRETS).values(), *filter(None, dataclasses.asdict(OTHER_SECRETS).values())]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "mlflow"


def resources(root: Path, secrets: object = SECRETS) -> list[Resource]:
    assert isinstance(secrets, type(SECRETS))
    host = facts(DEPLOYMENT, root={"path": str(root), "state": "absent"})
    return [made for made in blueprint(DEPLOYMENT, secrets, host, "ada@laptop") if made.id not in ELSEWHERE]


def test_no_event_carries_a_secret_whatever_changes(root: Path) -> None:
    events: list[Event] = []
    for secrets in (OTHER_SECRETS, SECRETS):
        plan(resources(root, secrets), events.append)
        apply(resources(root, secrets), events.append, lambda: False)
    for name in ("server.env", "aws/credentials", "basic_auth.ini"):
        path = root / "server" / "etc" / name
        path.write_text(f"export AWS_SECRET_ACCESS_KEY={SECRETS.aws_secret_access_key}\n" + path.read_text())
    plan(resources(root), events.append)
    apply(resources(root), events.append, lambda: False)
    text = "\n".join(map(encode, events))
    generated = [line.partition("=")[2] for line in (root / "server" / "etc" / "secrets.env").read_text().splitlines()]
    for canary in (*CANARIES, *generated):
        assert canary not in text
    assert "<another secret>" in text
    assert "not shown" in text


def test_a_secret_lies_in_one_closed_file(root: Path) -> None:
    apply(resources(root), lambda event: None, lambda: False)
    holding = {
        str(path.relative_to(root)): path.stat().st_mode & 0o777
        for path in root.rglob("*")
        if path.is_file()
        and any(canary.encode() in path.read_bytes() for canary in dataclasses.asdict(SECRETS).values())
    }
    assert holding == {"server/etc/aws/credentials": 0o600}


def test_a_second_run_of_everything_changes_nothing(root: Path) -> None:
    assert apply(resources(root), lambda event: None, lambda: False) > 10
    assert apply(resources(root), lambda event: None, lambda: False) == 0
    assert plan(resources(root), lambda event: None) == 0


def test_what_was_read_as_a_secret_is_put_right(root: Path) -> None:
    apply(resources(root), lambda event: None, lambda: False)
    credentials = root / "server" / "etc" / "aws" / "credentials"
    before = credentials.read_text()
    credentials.write_text("[default]\n")
    assert plan(resources(root), lambda event: None) == 2  # the file and the record of it
    apply(resources(root), lambda event: None, lambda: False)
    assert credentials.read_text() == before
