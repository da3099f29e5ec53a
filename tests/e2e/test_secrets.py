"""Canary secrets: given in every way there is, looked for in everything that was printed, written, or could be seen."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlflow_provision.backup_keys import from_passphrase, generate, kdf_for
from tests.e2e.operator import Operator, on
from tests.e2e.spy import USER, Seen, spying, spying_here
from tests.lab import SUDO_PASSWORD, Keys, LabHost, RcloneS3

NAME, SECOND = "server", "second"
BASE = f"/opt/mlflow/{NAME}"
FOLDER = "/var/backups/second"
ADMIN = "canary-Admin-password-7f3a91"
KEYS = Keys("AKIACANARY7F3A91KEYID", "canarySecretAccessKey7f3a91/with+slash")
BY_HAND = ["canaryWrittenByHandIntoCredentials", "canaryWrittenByHandIntoComment", "canaryWrittenByHandIntoAuth1"]
BACKUP_KEYS = Keys("AKIACANARYBACKUP7F3A9", "canaryBackupSecretAccessKey7f3a91/with+slash")
PASSPHRASE = "canary-Backup-passphrase-7f3a91"
PING = "canary-ping-7f3a91"  # the part of the URL that makes it secret
NAMES_OF_KEYS = {"key id"}  # `doctor` and `rotate aws` say which key is used
JOB = f"mlflow-{SECOND}-backup"
NEW_KEYS = Keys("AKIACANARYNEW7F3A91K", "canaryNewSecretAccessKey7f3a91/with+slash")
ANAS = "canary-Password-of-ana-7f3a91"
CONTROL = "canary-that-must-be-seen"


@dataclass
class Story:
    """What happened, and what must not be found anywhere."""

    host: LabHost
    operator: Operator
    here: Seen
    seen: Seen
    places: list[Path]  # where backups are
    secrets: dict[str, str] = field(default_factory=dict)

    def found_in(self, text: str) -> list[str]:
        """The secrets that stand in a text, in clear or as basic auth sends them."""
        forms = {name: (secret, *_encoded(secret)) for name, secret in self.secrets.items()}
        return [name for name, written in forms.items() if any(form in text for form in written)]


def _encoded(secret: str) -> Iterator[str]:
    yield base64.b64encode(f"admin:{secret}".encode()).decode()
    yield json.dumps(secret)[1:-1]


@pytest.fixture(scope="module")
def host(stocked_host: LabHost) -> LabHost:
    return stocked_host


@pytest.fixture(scope="module")
def story(host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """All that is done with a server, good days and bad ones, while another user of the host looks on."""
    operator = Operator(tmp_path_factory.mktemp("operator"), host.ssh_config)
    folder, vault = tmp_path_factory.mktemp("s3"), tmp_path_factory.mktemp("vault")
    identity, recipient = generate()
    with RcloneS3(folder, *KEYS) as store, RcloneS3(vault, *BACKUP_KEYS) as backups:
        store.create_bucket("models")
        backups.create_bucket("backups")
        with spying_here() as here, spying(host) as seen:
            _set_up(host, operator, store)
            _good_days(host, operator)
            _bad_days(host, operator)
            _backups(host, operator, backups)
            _backups_to_a_key(host, operator, identity, recipient)
            before = _looked_after(host, operator)
            host.run(["python3", "-c", "import time; time.sleep(0.1)", CONTROL])
        places = [vault, host.path(FOLDER)]
        story = Story(host, operator, here, seen, places)
        story.secrets = {"admin": ADMIN, "key id": KEYS.key, "secret key": KEYS.secret, "sudo": SUDO_PASSWORD}
        story.secrets |= {f"by hand {number}": text for number, text in enumerate(BY_HAND)}
        story.secrets |= {"backup key id": BACKUP_KEYS.key, "backup secret key": BACKUP_KEYS.secret}
        story.secrets |= {"passphrase": PASSPHRASE, "identity": identity, "ping": PING}
        story.secrets["derived"] = from_passphrase(PASSPHRASE, kdf_for("s3://backups/b", SECOND))
        story.secrets["generated"] = _value((operator.config / f"{SECOND}.secrets.toml").read_text(), "admin_password")
        story.secrets |= {f"{name} before": secret for name, secret in before.items()}
        story.secrets |= {"user": ANAS, "new key id": NEW_KEYS.key, "new secret key": NEW_KEYS.secret}
        for line in host.path(f"{BASE}/etc/secrets.env").read_text().splitlines():
            name, _, secret = line.partition("=")
            story.secrets[name] = secret
        yield story


def _set_up(host: LabHost, operator: Operator, store: RcloneS3) -> None:
    aws = operator.home / ".aws"
    aws.mkdir()
    (aws / "credentials").write_text(f"[work]\naws_access_key_id={KEYS.key}\naws_secret_access_key={KEYS.secret}\n")
    operator.config.mkdir()
    secrets = operator.config / f"{NAME}.secrets.toml"
    secrets.touch(mode=0o600)
    secrets.write_text(f'admin_password = "{ADMIN}"\n')
    where = ("--artifacts", "s3://models/ml", "--endpoint-url", store.endpoint, "--aws-profile", "work")
    operator.typed("setup", f"askpass@{host.name}", "--debug", "--yes", *where, answers={"password for": SUDO_PASSWORD})
    operator.edit(NAME, "askpass@", "operator@")


def _good_days(host: LabHost, operator: Operator) -> None:
    operator.run("setup", on(host), "--name", SECOND, "--port", "5100", "--yes", "--debug")
    operator.run("setup", SECOND, "--dry-run", "--debug")
    for command in (["plan", NAME], ["setup", NAME, "--yes"], ["status", NAME], ["list"]):
        operator.run(*command)
        operator.json(*command, "--debug")
    operator.json("verify", NAME, "--debug", "--no-kill")
    operator.typed("verify", NAME, "--no-kill", answers={})


def _bad_days(host: LabHost, operator: Operator) -> None:
    _secrets_written_by_hand(host, operator)
    moved = ("setup", NAME, "--yes", "--debug", "--artifacts-moved")
    operator.run(*moved, "--artifacts", "s3://no-such-bucket/ml", code=1)
    operator.json("setup", NAME, "--yes", "--artifacts-moved", code=1)
    operator.edit(NAME, "s3://no-such-bucket/ml", "s3://models/ml")
    for password, code in ((f"{ADMIN}\n", 2), (f"not-{ADMIN}", 1)):
        operator.variables["MLFLOW_PROVISION_ADMIN_PASSWORD"] = password
        operator.run("verify", NAME, "--debug", "--no-kill", code=code)
    operator.variables.clear()
    _server_that_dies(host, operator)


def _backups(host: LabHost, operator: Operator, store: RcloneS3) -> None:
    """Encrypted with a passphrase, into a bucket with keys of its own; good ones, and what goes wrong."""
    secrets = operator.config / f"{SECOND}.secrets.toml"
    known = {"backup_access_key_id": BACKUP_KEYS.key, "backup_secret_access_key": BACKUP_KEYS.secret}
    known |= {"backup_passphrase": PASSPHRASE, "backup_ping_url": f"http://127.0.0.1:9/{PING}"}
    secrets.write_text(secrets.read_text() + "".join(f'{name} = "{value}"\n' for name, value in known.items()))
    place = ("--to", "s3://backups/b", "--aws-keys", "--endpoint-url", store.endpoint, "--region", "us-east-1")
    operator.run("setup", SECOND, "--yes", "--backups", FOLDER, "--backup-encryption", "passphrase", "--debug")
    operator.run("backup", "schedule", SECOND, "--yes", *place, "--debug")
    job = host.path(f"/opt/mlflow/{SECOND}/etc/backup.json")
    job.write_text(job.read_text().replace(BACKUP_KEYS.secret, BY_HAND[0]).replace(PING, BY_HAND[1]))
    operator.typed("setup", SECOND, "--dry-run", answers={})
    operator.run("setup", SECOND, "--yes", "--debug")
    host.run(["systemctl", "start", JOB])
    operator.run("backup", "now", SECOND, "--debug")
    for command in (["list"], ["verify"], ["prune", "--dry-run"], ["schedule"]):
        operator.json("backup", *command, SECOND)
    operator.json("status", SECOND)
    operator.run("restore", "--latest", SECOND, "--yes", "--debug")
    variable = "MLFLOW_PROVISION_BACKUP_PASSPHRASE"
    operator.variables[variable] = f"not-{PASSPHRASE}"
    operator.run("backup", "verify", SECOND, "--debug", code=None)
    operator.run("restore", "--latest", SECOND, "--yes", "--debug", code=None)
    operator.variables.clear()
    client = store.client()
    objects = client.list_objects_v2(Bucket="backups")["Contents"]
    content = {entry["Key"]: client.get_object(Bucket="backups", Key=entry["Key"])["Body"].read() for entry in objects}
    for key in content:
        client.delete_object(Bucket="backups", Key=key)
    client.delete_bucket(Bucket="backups")
    host.run(["systemctl", "start", JOB], check=False)
    operator.json("status", SECOND)
    client.create_bucket(Bucket="backups")
    for key, body in content.items():
        client.put_object(Bucket="backups", Key=key, Body=body)


def _backups_to_a_key(host: LabHost, operator: Operator, identity: str, recipient: str) -> None:
    """Into a folder of the host; what opens them is given for the verification alone."""
    options = ("--backup-encryption", "recipient", "--backup-recipient", recipient)
    operator.run("backup", "schedule", SECOND, "--yes", "--to", FOLDER, "--debug")
    operator.run("setup", SECOND, "--yes", *options, "--debug")
    host.run(["systemctl", "start", JOB])
    operator.variables["MLFLOW_PROVISION_BACKUP_IDENTITY"] = identity
    assert operator.json("backup", "verify", SECOND, "--debug")["verified"]["level"] == "full"
    operator.variables.clear()


def _looked_after(host: LabHost, operator: Operator) -> dict[str, str]:
    """What comes in the years after; the secrets that were exchanged for others."""
    for command in (["doctor"], ["logs"], ["logs", "--errors"], ["audit", "--all"], ["gc", "--dry-run"]):
        operator.run(*command[:1], NAME, *command[1:], "--debug", code=None)
        operator.json(*command[:1], SECOND, *command[1:], code=None)
    host.path(f"{BASE}/etc/secrets.env").chmod(0o640)
    operator.run("doctor", NAME, "--fix", "--yes", "--debug", code=None)
    operator.variables["MLFLOW_PROVISION_USER_PASSWORD"] = ANAS
    operator.json("user", "add", "ana", SECOND, "--debug")
    operator.run("user", "password", "ana", SECOND, "--debug")
    operator.run("user", "add", "ana", SECOND, "--debug", code=1)  # there is one already
    operator.variables.clear()
    operator.variables |= {
        "MLFLOW_PROVISION_NEW_AWS_ACCESS_KEY_ID": NEW_KEYS.key,
        "MLFLOW_PROVISION_NEW_AWS_SECRET_ACCESS_KEY": NEW_KEYS.secret,
    }
    operator.run("rotate", "aws", NAME, "--yes", "--debug", code=1)  # the store does not know it
    operator.variables.clear()
    kept = operator.config / f"{SECOND}.secrets.toml"
    own = host.path(f"/opt/mlflow/{SECOND}/etc/secrets.env")
    before = {"generated": _value(kept.read_text(), "admin_password")}
    before |= dict(line.split("=", 1) for line in own.read_text().splitlines())
    operator.json("rotate", "password", SECOND, "--debug")
    operator.run("rotate", "secret", SECOND, "--yes", "--debug")
    operator.run("user", "password", "admin", SECOND, "--reset", "--debug")
    operator.run("gc", SECOND, "--older-than", "0d", "--yes", "--debug")
    operator.run("move-artifacts", SECOND, "--to", f"{FOLDER}-artifacts", "--yes", "--debug")
    operator.run("rollback", SECOND, "--yes", "--debug", code=None)  # there is nothing to go back to
    return before


def _secrets_written_by_hand(host: LabHost, operator: Operator) -> None:
    """Into files where they belong, and where they do not."""
    credentials, auth, environment = (
        host.path(f"{BASE}/etc/{name}") for name in ("aws/credentials", "basic_auth.ini", "server.env")
    )
    credentials.write_text(credentials.read_text().replace(KEYS.secret, BY_HAND[0]) + f"# before: {BY_HAND[1]}\n")
    auth.write_text(auth.read_text() + f"admin_password = {BY_HAND[2]}\n")
    environment.write_text(environment.read_text() + f"AWS_SECRET_ACCESS_KEY={KEYS.secret}\n")
    operator.run("plan", NAME, "--exit-code", code=4)
    operator.json("plan", NAME)
    operator.typed("setup", NAME, "--dry-run", answers={})
    operator.run("setup", NAME, "--yes", "--debug")


def _server_that_dies(host: LabHost, operator: Operator) -> None:
    operator.run("stop", NAME)
    host.run(["cp", "-a", f"{BASE}/data/basic_auth.db", "/root/basic_auth.db"])
    host.run(["dd", "if=/dev/urandom", f"of={BASE}/data/basic_auth.db", "bs=4096", "count=9", "conv=notrunc"])
    operator.run("setup", NAME, "--yes", "--debug", code=1)
    operator.run("start", NAME, "--debug", code=1)
    operator.json("status", NAME, code=1)
    host.run(["cp", "-a", "/root/basic_auth.db", f"{BASE}/data/basic_auth.db"])
    operator.run("start", NAME)


def test_the_spy_sees_what_there_is_to_see(story: Story) -> None:
    """Else it would prove nothing."""
    assert story.seen.rounds > 1000
    assert CONTROL in story.seen.all
    for program in ("mlflow-provision", "mlflow server", "bin/uv pip install", "memfd_create"):
        assert program in story.seen.all, program
    assert "mlflow_provision setup" in story.here.all
    assert story.found_in(f"prefix {ADMIN}, {base64.b64encode(f'admin:{KEYS.secret}'.encode()).decode()}") == [
        "admin",
        "secret key",
    ]
    assert len(story.secrets) == 16 + 3 + 3
    assert len(set(story.secrets.values())) == len(story.secrets)
    assert f"mlflow/{SECOND}/agent.zip" in story.seen.all and "mlflow_provision backup now" in story.here.all
    assert all(len(secret) > 12 for secret in story.secrets.values())


def test_no_secret_in_an_argument_list_or_an_open_environment(story: Story) -> None:
    assert story.found_in(story.seen.all) == []
    assert story.found_in(story.here.all) == []


def test_no_secret_was_printed(story: Story) -> None:
    shown = "".join(story.operator.shown)
    assert len(shown) > 20_000
    assert set(story.found_in(shown)) <= NAMES_OF_KEYS
    assert "<secret>" in shown
    # nor over two lines of a narrow terminal
    assert set(story.found_in(re.sub(r"\s", "", shown))) <= NAMES_OF_KEYS


def test_no_secret_on_the_operators_disk_but_where_it_belongs(story: Story) -> None:
    home = story.operator.home
    files = [path for path in home.rglob("*") if path.is_file() and ".aws" not in path.parts]
    assert len(files) >= 4
    for path in files:
        if path.name.endswith(".secrets.toml"):
            assert path.stat().st_mode & 0o077 == 0
        else:
            assert story.found_in(path.read_text(errors="replace")) == [], path


def test_no_secret_in_the_journal(story: Story) -> None:
    """With every field that journald keeps, the command lines of whoever wrote among them."""
    journal = story.host.run(["journalctl", "--no-pager", "--output=export", "--all"]).stdout
    assert "_CMDLINE=" in journal
    assert story.found_in(journal) == []


def test_no_secret_in_a_file_that_others_can_read(story: Story) -> None:
    host = story.host
    host.run(["sh", "-c", f"echo {CONTROL} > /opt/readable; echo {CONTROL} > /opt/private; chmod 600 /opt/private"])
    readable = _files_with(story, USER, [CONTROL])
    assert "/opt/readable" in readable
    assert "/opt/private" not in readable
    assert _files_with(story, USER, list(story.secrets.values())) == []


def test_secrets_are_on_the_host_only_where_they_are_needed(story: Story) -> None:
    own = ("MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_CRYPTO_KEK_PASSPHRASE")
    where = {name: _files_with(story, "root", [secret]) for name, secret in story.secrets.items() if name not in own}
    for name in own:  # what a restore replaced, for the way back
        (place,) = where.pop(f"{name} before")
        assert place.startswith(f"/opt/mlflow/{SECOND}/backup/before-")
    assert {name: places for name, places in where.items() if places} == {
        "key id": [f"{BASE}/etc/aws/credentials"],
        "secret key": [f"{BASE}/etc/aws/credentials"],
        "ping": [f"/opt/mlflow/{SECOND}/etc/backup.json"],  # and neither what opens backups, nor keys of before
    }


def test_no_secret_in_a_backup_that_others_could_read(story: Story) -> None:
    """Not in manifests, which are in clear; the rest is encrypted."""
    for place in story.places:
        stored = [path for path in place.rglob("*") if path.is_file()]
        assert {path.suffix for path in stored} == {".age", ".json"}
        assert len(stored) >= 6
        for path in stored:
            assert story.found_in(path.read_bytes().decode("latin-1")) == [], path


def _files_with(story: Story, user: str, texts: list[str]) -> list[str]:
    """Files of the host that a user can read and in which one of the texts stands."""
    skipped = ["proc", "sys", "dev", "mlflow-provision", "journal", f"{USER}"]
    argv = ["grep", "-rlaF", "-f", "-", *(f"--exclude-dir={name}" for name in skipped), "/"]
    found = story.host.run(argv, user=user, input="\n".join(texts) + "\n", check=False).stdout
    return sorted(found.split())


def _value(toml: str, key: str) -> str:
    line = next(line for line in toml.splitlines() if line.startswith(key))
    return line.split('"')[1]
