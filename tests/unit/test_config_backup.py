"""Where backups may go, and what is told of a place where they may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.config import (
    Artifacts,
    Backup,
    Deployment,
    Secrets,
    changed,
    load,
    missing_secrets,
    save,
    save_secrets,
    validate,
)
from mlflow_provision.errors import ProvisionError

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


@pytest.mark.parametrize("place", ["operator:~/backups", "operator:/media/a disk/mlflow", "operator:~/b/"])
def test_a_place_on_the_machine_of_the_operator(place: str) -> None:
    assert problems(destination=place, schedule="off") == []


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
        ("operator:", "names no folder of your machine"),
        ("operator:backups", "names no folder of your machine"),
        ("operator:~/", "names no folder of your machine"),
        ("operator:~/a/../b", "goes through '..'"),
        ("operator:~/a\nb", "control character"),
    ],
)
def test_a_place_that_cannot_be(place: str, told: str) -> None:
    (problem,) = problems(destination=place)
    assert problem.startswith("backup.destination: ")
    assert told in problem


def test_folders_of_artifacts_and_of_backups_are_apart() -> None:
    assert "inside one another" in problems(Artifacts("/srv/ml"), destination="/srv/ml/backups")[0]
    assert "inside /srv/mlflow" in problems(root="/srv/mlflow", destination="/srv/mlflow/b")[0]


def test_backups_that_upgrades_made_on_the_host_can_be_named_as_a_place() -> None:
    assert problems(destination="/opt/mlflow/prod/backup/upgrades-store") == []
    assert problems(root="/srv/ml", destination="/srv/ml/prod/backup/upgrades-store") == []
    assert "is inside" in problems(destination="/opt/mlflow/other/backup/upgrades-store")[0]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"destination": "/srv/b", "schedule": "dayly"}, "backup.schedule: 'dayly' is unknown: use hourly, daily"),
        (
            {"destination": "/srv/b", "verify": "yearly"},
            "backup.verify: 'yearly' is unknown: use daily, weekly, monthly",
        ),
        ({"keep_monthly": 2}, "backup.destination: missing, and keep_monthly has no use without it"),
        ({"destination": "operator:~/b"}, "backup.schedule: 'daily' cannot be: the host does not reach your machine"),
        ({"destination": "/srv/b", "keep_daily": -1}, "backup.keep_daily: -1 cannot be used: use 0 to 1000"),
        ({"destination": "/srv/b", "keep_weekly": 1001}, "backup.keep_weekly: 1001 cannot be used"),
        ({"destination": "/srv/b", "keep_last": 0, "keep_daily": 0, "keep_weekly": 0}, "no backup would be kept"),
        ({"schedule": "weekly"}, "backup.destination: missing, and schedule has no use without it"),
    ],
)
def test_how_often_and_how_many(values: dict[str, object], told: str) -> None:
    (problem,) = problems(**values)  # type: ignore[arg-type]
    assert told in problem


def test_it_is_kept_in_the_file(tmp_path: Path) -> None:
    backup = Backup("s3://bucket/backups", "weekly", keep_daily=3, encryption="passphrase", artifacts=False)
    wanted = Deployment("prod", "ubuntu@host", backup=backup, artifacts=S3)
    path = tmp_path / "prod.toml"
    save(wanted, path)
    assert load(path) == wanted
    assert '[backup]\ndestination = "s3://bucket/backups"' in path.read_text()
    save(Deployment("b", "local"), tmp_path / "b.toml")
    assert "[backup]" not in (tmp_path / "b.toml").read_text()


def test_another_place_on_the_own_machine_has_no_schedule() -> None:
    known = Deployment("prod", "ubuntu@host")
    assert changed(known, {"backup.destination": "operator:~/b"}).backup.schedule == "off"
    assert changed(known, {"backup.destination": "operator:~/b", "backup.schedule": "daily"}).backup.schedule == "daily"
    assert changed(known, {"backup.destination": "/srv/b"}).backup.schedule == "daily"


def test_another_place_drops_what_belonged_to_the_bucket() -> None:
    bucket = Backup("s3://other/b", credentials="keys", region="us-west-1", append_only=True, keep_last=5)
    known = Deployment("prod", "ubuntu@host", backup=bucket)
    assert changed(known, {"backup.destination": "/srv/b"}).backup == Backup("/srv/b", keep_last=5)
    assert changed(known, {"backup.destination": "s3://third"}).backup.credentials == "keys"
    assert changed(known, {"backup.destination": ""}).backup == Backup()


RECIPIENT = "age1vmzusqhl7609en8azvc02tdq60lzcp883fy267lylrzpcy03zsdshan3p8"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"encryption": "gpg"}, "backup.encryption: 'gpg' is unknown: use passphrase or recipient"),
        ({"encryption": "recipient"}, "backup.recipient: missing: make a key with `mlflow-provision backup keygen`"),
        ({"recipient": RECIPIENT}, "backup.recipient: has no use without"),
        ({"encryption": "passphrase", "recipient": RECIPIENT}, "backup.recipient: has no use without"),
        ({"encryption": "recipient", "recipient": RECIPIENT[:-1] + "9"}, "backup.recipient: has a typing error"),
    ],
)
def test_to_whom_they_are_encrypted(values: dict[str, object], told: str) -> None:
    (problem,) = problems(destination="s3://other/b", **values)  # type: ignore[arg-type]
    assert told in problem


def test_encrypted_backups() -> None:
    assert problems(destination="s3://other/b", encryption="passphrase") == []
    assert problems(destination="s3://other/b", encryption="recipient", recipient=RECIPIENT) == []


FOLDER = Artifacts()


@pytest.mark.parametrize(
    ("artifacts", "values", "told"),
    [
        (FOLDER, {}, "backup.credentials: missing: say how the host may use the bucket"),
        (S3, {"endpoint_url": "https://minio"}, "backup.credentials: missing: those of the artifacts are not sent"),
        (S3, {"credentials": "root"}, "backup.credentials: 'root' is unknown"),
        (S3, {"credentials": "keys", "endpoint_url": "minio"}, "backup.endpoint_url: 'minio' is not a URL"),
        (S3, {"region": "eu-central-1a"}, "backup.region: 'eu-central-1a' is an availability zone"),
        (S3, {"credentials": "profile"}, "backup.profile: missing"),
        (S3, {"profile": "x"}, "backup.profile: has no use without"),
        (FOLDER, {"destination": "/srv/b", "region": "us-west-1"}, "backup.region: has no use without a bucket"),
        (FOLDER, {"destination": "/srv/b", "append_only": True}, "backup.append_only: is for a bucket"),
    ],
)
def test_how_its_bucket_is_used(artifacts: Artifacts, values: dict[str, object], told: str) -> None:
    (problem,) = problems(artifacts, **{"destination": "s3://other/b", **values})  # type: ignore[arg-type]
    assert told in problem


def test_a_bucket_with_credentials_of_its_own() -> None:
    assert problems(FOLDER, destination="s3://other/b", credentials="keys", endpoint_url="https://minio:9000") == []
    assert problems(S3, destination="s3://other/b", region="eu-central-1", append_only=True) == []


@pytest.mark.parametrize(
    ("deployment", "needed"),
    [
        (Deployment("a", "local", backup=Backup("/b", encryption="passphrase")), ["backup_passphrase"]),
        (
            Deployment("a", "local", backup=Backup("s3://b", credentials="keys")),
            ["backup_access_key_id", "backup_secret_access_key"],
        ),
        (Deployment("a", "local", backup=Backup("/b", encryption="recipient")), []),
    ],
)
def test_secrets_that_it_cannot_do_without(deployment: Deployment, needed: list[str]) -> None:
    assert [problem.partition(":")[0] for problem in missing_secrets(deployment, Secrets())] == needed


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("backup_passphrase", "too short", "has 9 characters: use at least 12"),
        ("backup_passphrase", "twelve\nor more", "control character"),
        ("backup_passphrase", " twelve or more", "space"),
        ("backup_identity", "twelve or more", "is not an age identity"),
        ("backup_ping_url", "ftp://twelve/or", "is not a URL"),
        ("backup_ping_url", "https://twelve or/more", "is not a URL"),
    ],
)
def test_a_secret_that_cannot_be_used_is_not_shown(name: str, value: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ProvisionError) as error:
        save_secrets(tmp_path / "a.toml", Secrets(**{name: value}))
    assert f"{name}: {told}" in error.value.message or told in error.value.message
    assert value not in error.value.message


def test_a_name_whose_unit_would_be_that_of_backups() -> None:
    (problem,) = validate(Deployment("prod-backup", "ubuntu@host"))
    assert problem.startswith("name: ")
    assert "backs up 'prod'" in problem
