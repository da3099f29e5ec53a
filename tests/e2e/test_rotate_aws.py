"""AWS keys exchanged under a server and its backups, with an IAM that makes them and a store that judges them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from mlflow_provision.aws.policy import policy
from tests.e2e.logins import secrecy
from tests.e2e.operator import Operator, on
from tests.e2e.prepared import Prepared
from tests.e2e.test_rotate import told
from tests.e2e.waiting import until_no_agent
from tests.lab import Keys, LabHost, MotoS3
from tests.lab.s3 import LIKE_AWS, REGION

NAME = "buckets"
ETC = f"/opt/mlflow/{NAME}/etc"
USER, VAULT = "mlflow", "vault"  # whose keys they are at IAM: the server's, and those of backups on their own
ADMIN, PROFILE = "admin", "server"  # profiles in ~/.aws
ROTATE = ("rotate", "aws", NAME, "--yes")
BY_IAM = ("--iam", "--aws-profile", ADMIN)


@dataclass
class Shop:
    """A server with its artifacts and backups in a bucket, and what can be known of its keys."""

    host: LabHost
    operator: Operator
    s3: MotoS3

    def at_iam(self, user: str = USER) -> dict[str, str]:
        """The keys of a user, and whether they are active."""
        found = self.s3.client("iam").list_access_keys(UserName=user)["AccessKeyMetadata"]
        return {key["AccessKeyId"]: key["Status"] for key in found}

    @property
    def of_server(self) -> str:
        """The key on the host that the server uses."""
        found = re.search("^aws_access_key_id *= *(.+)$", self._text("aws/credentials"), re.MULTILINE)
        assert found
        return found[1]

    @property
    def of_backups(self) -> str:
        return str(json.loads(self._text("backup.json"))["settings"]["place"]["access_key_id"])

    @property
    def process(self) -> str:
        """The server's: another one after a restart."""
        return self.host.run(["systemctl", "show", f"mlflow-{NAME}", "--property=MainPID", "--value"]).stdout

    def kept(self, name: str) -> str:
        """A line of the secrets file."""
        found = re.search(f'^{name} = "(.+)"$', self.secrets.read_text(), re.MULTILINE)
        return found[1] if found else ""

    @property
    def secrets(self) -> Path:
        return self.operator.config / f"{NAME}.secrets.toml"

    @property
    def unfinished(self) -> dict[str, dict[str, str]]:
        path = self.operator.config / f"{NAME}.rotating.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def opens(self, keys: Keys, bucket: str = "team") -> bool:
        """May these keys still store something?"""
        try:
            self.s3.client(keys=keys).put_object(Bucket=bucket, Key="ml/tried", Body=b"")
        except ClientError:
            return False
        return True

    def forget_inactive(self, user: str = USER) -> None:
        """What the command tells its operator to do, when nobody misses the old key."""
        for key, status in self.at_iam(user).items():
            if status == "Inactive":
                self.s3.client("iam").delete_access_key(UserName=user, AccessKeyId=key)

    def _text(self, name: str) -> str:
        return self.host.path(f"{ETC}/{name}").read_text()


def write_keys(shop: Shop, prefix: str, keys: Keys) -> None:
    """Into the secrets file, as a person writes them."""
    shop.secrets.touch(mode=0o600)
    lines = f'{prefix}_access_key_id = "{keys.key}"\n{prefix}_secret_access_key = "{keys.secret}"\n'
    shop.secrets.write_text(shop.secrets.read_text() + lines)


@pytest.fixture(scope="module")
def shop(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("home") / "operator"
    with MotoS3(enforce_iam=True, program=LIKE_AWS) as s3, set_up.copy(home) as served:
        shop = Shop(served.host, served.operator, s3)
        for bucket in ("team", VAULT):
            s3.create_bucket(bucket)
        aws = home / ".aws"
        aws.mkdir()
        (aws / "credentials").write_text(_profile(ADMIN, s3.keys))
        write_keys(shop, "aws", s3.create_user(USER, policy("s3://team/ml", "s3://team/backups")))
        shop.operator.variables["AWS_ENDPOINT_URL_IAM"] = s3.endpoint
        place = ("--artifacts", "s3://team/ml", "--aws-keys", "--endpoint-url", s3.endpoint, "--region", REGION)
        backups = ("--backups", "s3://team/backups")
        shop.operator.run("setup", on(shop.host), "--name", NAME, "--port", "5200", "--yes", *place, *backups)
        yield shop


def _profile(name: str, keys: Keys) -> str:
    return f"[{name}]\n# {name}'s\naws_access_key_id = {keys.key}\naws_secret_access_key = {keys.secret}\n\n"


def test_iam_makes_the_new_key_and_ends_the_old_one(shop: Shop) -> None:
    old = Keys(shop.kept("aws_access_key_id"), shop.kept("aws_secret_access_key"))
    assert shop.opens(old)
    with secrecy(shop.host, shop.operator) as secret:
        rotated = shop.operator.json(*ROTATE, *BY_IAM, "--debug")["rotated"]
    new = Keys(shop.kept("aws_access_key_id"), shop.kept("aws_secret_access_key"))
    assert (rotated["old_access_key_id"], rotated["old"]) == (old.key, "inactive")
    assert [Path(path).samefile(shop.secrets) for path in rotated["kept_in"]] == [True]
    assert shop.at_iam() == {old.key: "Inactive", new.key: "Active"}
    assert (shop.of_server, shop.of_backups) == (new.key, new.key)
    assert (shop.opens(old), shop.opens(new)) == (False, True)
    assert shop.unfinished == {}
    assert shop.operator.json("plan", NAME)["changes"] == 0
    shop.operator.run("backup", "now", NAME)
    secret.secrets = [("", old.secret), ("", new.secret)]
    assert secret.found() == []


def test_there_can_be_no_third_key(shop: Shop) -> None:
    before, used, process = shop.at_iam(), shop.of_server, shop.process
    assert len(before) == 2
    shop.operator.refused(*ROTATE, *BY_IAM)
    assert (shop.at_iam(), shop.of_server, shop.process) == (before, used, process)
    assert shop.unfinished == {}


def test_a_key_without_rights_is_not_taken(shop: Shop) -> None:
    used, process, kept = shop.of_server, shop.process, shop.secrets.read_text()
    other = shop.s3.create_user("somebody", policy("s3://elsewhere/ml"))
    for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"), other, strict=True):
        shop.operator.variables[f"MLFLOW_PROVISION_NEW_AWS_{name}"] = value
    try:
        assert "s3:PutObject" in shop.operator.refused(*ROTATE)
    finally:
        for name in [name for name in shop.operator.variables if "_NEW_AWS_" in name]:
            del shop.operator.variables[name]
    assert (shop.of_server, shop.process, shop.secrets.read_text()) == (used, process, kept)
    assert shop.unfinished == {}


def test_the_operator_is_killed_and_the_key_is_in_a_profile(shop: Shop) -> None:
    """The same command goes on with the key that IAM has made already; in ~/.aws two lines change."""
    shop.forget_inactive()
    old = Keys(shop.kept("aws_access_key_id"), shop.kept("aws_secret_access_key"))
    credentials = shop.operator.home / ".aws" / "credentials"
    credentials.write_text(_profile(PROFILE, old) + credentials.read_text())
    credentials.chmod(0o640)
    shop.operator.run("setup", NAME, "--aws-profile", PROFILE, "--yes")
    before = credentials.read_text()
    killed = shop.operator.start(*ROTATE, *BY_IAM, "--delete-old")
    told(killed, "aws/credentials")
    killed.kill()
    killed.communicate()
    made = shop.unfinished["aws-artifacts"]
    assert shop.at_iam() == {old.key: "Active", made["id"]: "Active"}
    until_no_agent(shop.host)
    rotated = shop.operator.json(*ROTATE, *BY_IAM, "--delete-old")["rotated"]
    assert rotated == {"old_access_key_id": old.key, "old": "deleted", "kept_in": [str(credentials)]}
    assert shop.at_iam() == {made["id"]: "Active"}
    assert (shop.of_server, shop.of_backups) == (made["id"], made["id"])
    assert credentials.read_text() == before.replace(old.key, made["id"]).replace(old.secret, made["secret"])
    assert credentials.stat().st_mode & 0o777 == 0o640
    assert shop.unfinished == {}


def test_backups_with_a_key_of_their_own(shop: Shop) -> None:
    old = shop.s3.create_user(VAULT, policy(f"s3://{VAULT}/backups"))
    write_keys(shop, "backup", old)
    place = (f"s3://{VAULT}/backups", "--aws-keys", "--endpoint-url", shop.s3.endpoint, "--region", REGION)
    shop.operator.run("backup", "schedule", NAME, "--to", *place, "--yes")
    used, process = shop.of_server, shop.process
    assert shop.of_backups == old.key
    shop.operator.run(*ROTATE, *BY_IAM, "--backups")
    new = shop.kept("backup_access_key_id")
    assert shop.at_iam(VAULT) == {old.key: "Inactive", new: "Active"}
    assert (shop.of_backups, shop.of_server, shop.process) == (new, used, process)
    assert not shop.opens(old, VAULT)
    made = shop.operator.json("backup", "now", NAME)["backup"]
    assert made["verified"]["level"] == "full"
