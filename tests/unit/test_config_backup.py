"""Where backups may go, and what is told of a place where they may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.config import Artifacts, Backup, Deployment, load, save, validate

S3 = Artifacts("s3://bucket/ml", credentials="instance-role")


def problems(artifacts: Artifacts = S3, scope: str = "system", root: str = "", **values: object) -> list[str]:
    host = "local" if scope == "user" else "ubuntu@host"
    backup = Backup(**values)  # type: ignore[arg-type]
    return validate(Deployment("prod", host, scope=scope, root=root, artifacts=artifacts, backup=backup))


@pytest.mark.parametrize(
    "place",
    ["", "s3://bucket/ml-backups", "s3://other", "s3://bucket/backups/ml/", "/srv/backups", "/mnt/disk/backups"],
)
def test_a_place_of_its_own(place: str) -> None:
    assert problems(destination=place) == []


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("s3://bucket/ml", "inside one another"),
        ("s3://bucket/ml/backups", "inside one another"),
        ("s3://bucket", "inside one another"),
        ("gs://bucket/x", "s3://bucket/prefix or an absolute folder"),
        ("s3://B_/x", "not the name of a bucket"),
        ("backups", "not an absolute path"),
        ("/home/ada/backups", "hidden from the service"),
        ("/opt/mlflow/prod/backups", "is inside /opt/mlflow"),
        ("/srv", "belongs to the system"),
    ],
)
def test_a_place_that_cannot_be(place: str, told: str) -> None:
    (problem,) = problems(destination=place)
    assert problem.startswith("backup.destination: ")
    assert told in problem


def test_folders_of_artifacts_and_of_backups_are_apart() -> None:
    assert "inside one another" in problems(Artifacts("/srv/ml"), destination="/srv/ml/backups")[0]
    assert "inside /srv/mlflow" in problems(root="/srv/mlflow", destination="/srv/mlflow/b")[0]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"destination": "/srv/b", "schedule": "dayly"}, "backup.schedule: 'dayly' is unknown: use hourly, daily"),
        ({"destination": "/srv/b", "keep_daily": -1}, "backup.keep_daily: -1 cannot be used: use 0 to 1000"),
        ({"destination": "/srv/b", "keep_weekly": 1001}, "backup.keep_weekly: 1001 cannot be used"),
        ({"destination": "/srv/b", "keep_daily": 0, "keep_weekly": 0}, "no backup would be kept"),
        ({"schedule": "weekly"}, "backup.destination: missing, and schedule has no use without it"),
    ],
)
def test_how_often_and_how_many(values: dict[str, object], told: str) -> None:
    (problem,) = problems(**values)  # type: ignore[arg-type]
    assert told in problem


def test_it_is_kept_in_the_file(tmp_path: Path) -> None:
    wanted = Deployment("prod", "ubuntu@host", backup=Backup("s3://bucket/backups", "weekly", keep_daily=3, encryption="passphrase"), artifacts=S3)
    path = tmp_path / "prod.toml"
    save(wanted, path)
    assert load(path) == wanted
    assert '[backup]\ndestination = "s3://bucket/backups"' in path.read_text()
    save(Deployment("b", "local"), tmp_path / "b.toml")
    assert "[backup]" not in (tmp_path / "b.toml").read_text()
