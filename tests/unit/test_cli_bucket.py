"""`setup --create-bucket`: made after the yes and before the host, and never a surprise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.aws_account import PROFILE, account, client
from tests.unit.conftest import CommandLine

pytest.importorskip("moto", reason="moto is not installed here")
WANTED = ("setup", "ubuntu@box", "--artifacts", "s3://team-mlflow/ml", "--aws-profile", PROFILE, "--create-bucket")


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with account(tmp_path, monkeypatch):
        yield client("s3")


def names(s3: Any) -> list[str]:
    return [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


def test_the_bucket_is_there_before_anything_is_applied(command_line: CommandLine, s3: Any) -> None:
    command_line.host.pending = {"service"}
    at_apply: list[list[str]] = []
    command_line.host.before_apply = lambda: at_apply.append(names(s3))
    result = command_line.run(*WANTED, "--yes")
    assert result.exit_code == 0, result.output
    assert at_apply == [["team-mlflow"]]
    assert "the bucket team-mlflow is made first" in result.stdout
    assert s3.get_bucket_versioning(Bucket="team-mlflow")["Status"] == "Enabled"


def test_without_a_yes_there_is_none(command_line: CommandLine, s3: Any) -> None:
    command_line.host.pending = {"service"}
    assert command_line.run(*WANTED).exit_code == 2
    assert command_line.run(*WANTED, "--dry-run").exit_code == 0
    assert names(s3) == []


def test_one_that_is_there_is_not_touched(command_line: CommandLine, s3: Any) -> None:
    s3.create_bucket(Bucket="team-mlflow", CreateBucketConfiguration={"LocationConstraint": "us-west-1"})
    command_line.host.pending = {"service"}
    result = command_line.run(*WANTED, "--yes")
    assert result.exit_code == 0, result.output
    assert "is made first" not in result.stdout
    assert "Status" not in s3.get_bucket_versioning(Bucket="team-mlflow")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("setup", "local", "--create-bucket"), "into a folder"),
        ((*WANTED[:3], "s3://dots.in.it/ml", *WANTED[4:]), "has a '.'"),
        ((*WANTED, "--defaults"), "--create-bucket needs a TARGET, and no questions"),
    ],
)
def test_what_cannot_be_is_told_before_the_host_is_asked(
    command_line: CommandLine, s3: Any, arguments: tuple[str, ...], told: str
) -> None:
    result = command_line.run(*arguments, "--yes")
    assert result.exit_code == 2
    assert told in result.stderr
    assert command_line.connections == []
