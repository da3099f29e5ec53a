"""Drift, secrets, clocks, ports and half-done work: found by doctor, mended where that is safe, else left alone."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.bad_day import replaced
from tests.e2e.doctored import examine, finds
from tests.e2e.operator import Operator
from tests.e2e.prepared import Prepared
from tests.e2e.served import NAME, UNIT, Served
from tests.e2e.traces import untouched
from tests.lab import Image, LabHost, MotoS3
from tests.lab.image import build
from tests.lab.program import run
from tests.lab.s3 import REGION

BASE = f"/opt/mlflow/{NAME}"
SETTINGS, AUTH = f"{BASE}/etc/server.env", f"{BASE}/etc/basic_auth.ini"
UNIT_FILE = f"/etc/systemd/system/{UNIT}.service"
CANARY = "CANARY-password-of-an-old-file"


@pytest.fixture(scope="module")
def patient(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A healthy server; each test of this file leaves it as it was. In all that doctor said there is no secret."""
    with set_up.copy(tmp_path_factory.mktemp("patient") / "home") as served:
        secrets = [served.password, CANARY, *secrets_on(served.host)]
        assert len(secrets) > 2 and all(len(secret) > 10 for secret in secrets)
        served.operator.shown.clear()  # `env` has just told the password, as it should
        yield served
        said = "".join(served.operator.shown)
        assert '"check": "secrets-readable"' in said
        assert not [secret for secret in secrets if secret in said]


def secrets_on(host: LabHost) -> list[str]:
    """The values of the file with the server's secrets."""
    lines = host.path(f"{BASE}/etc/secrets.env").read_text().splitlines()
    return [line.partition("=")[2].strip("'\"") for line in lines if "=" in line and not line.startswith("#")]


def pid(host: LabHost) -> str:
    return host.run(["systemctl", "show", UNIT, "--property=MainPID", "--value"]).stdout.strip()


def hashes(host: LabHost) -> list[tuple[str, str]]:
    """Every user of the server, and what is kept of the password."""
    with closing(sqlite3.connect(f"file:{host.path(BASE)}/data/basic_auth.db?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT username, password_hash FROM users ORDER BY id").fetchall()


# What differs from the deployment file


@finds("drift")
def test_files_that_somebody_changed(patient: Served) -> None:
    """A unit, a setting and a mode. Without an answer nothing is done; a second --fix has nothing to do."""
    host, operator = patient.host, patient.operator
    unit, settings = host.path(UNIT_FILE).read_text(), host.path(SETTINGS).read_text()
    host.path(UNIT_FILE).write_text(unit.replace("TasksMax=1024", "TasksMax=99"))
    host.path(SETTINGS).write_text(settings + "MLFLOW_HTTP_REQUEST_TIMEOUT=7\n")
    host.path(AUTH).chmod(0o600)
    found = examine(operator)
    assert found.bad == {"drift"}
    for path in (UNIT_FILE, SETTINGS, AUTH):
        assert path in found.of("drift")["evidence"]

    with untouched(host, ignoring=f"{BASE}/data"):
        examine(operator, "--fix", code=2)
    assert "TasksMax=99" in host.path(UNIT_FILE).read_text()

    found = examine(operator, "--fix", "--yes", code=0)
    assert "drift" in {finding["check"] for finding in found.document["findings_before"] if finding["verdict"] == "bad"}
    assert (host.path(UNIT_FILE).read_text(), host.path(SETTINGS).read_text()) == (unit, settings)
    assert host.path(AUTH).stat().st_mode & 0o777 == 0o640

    server = pid(host)
    with untouched(host, ignoring=f"{BASE}/data"):
        found = examine(operator, "--fix", "--yes", code=0)
    assert found.document["changes"] == 0 and pid(host) == server


@finds("drift", "login")
def test_an_old_secrets_file(patient: Served) -> None:
    """What --fix brings back is the host's files, and not a password of the past."""
    host = patient.host
    unit = host.path(UNIT_FILE).read_text()
    host.path(UNIT_FILE).write_text(unit.replace("TasksMax=1024", "TasksMax=99"))
    old = replace(patient.operator, variables={"MLFLOW_PROVISION_ADMIN_PASSWORD": CANARY})
    before = hashes(host)
    found = examine(old, "--fix", "--yes", code=1)
    assert found.bad == {"login"}
    assert host.path(UNIT_FILE).read_text() == unit
    assert hashes(host) == before
    assert examine(patient.operator, code=0).verdict("login") == "ok"


@finds("drift")
def test_another_version_in_the_file(patient: Served) -> None:
    """That is for upgrade and rollback: --fix keeps away from it."""
    server = pid(patient.host)
    for version, command in (("3.12.0", "rollback prod"), ("3.99.0", "upgrade prod --to 3.99.0")):
        with file_with(patient.operator, 'version = "3.17.2"', f'version = "{version}"'):
            found = examine(patient.operator, "--fix", "--yes", code=1)
        assert found.bad == {"drift"}
        assert command in found.of("drift")["remedy"] and found.of("drift")["fix"] == ""
        assert found.document["changes"] == 0
    assert pid(patient.host) == server


# This machine's own


@finds("credentials-here")
def test_secrets_of_this_machine(patient: Served, tmp_path: Path) -> None:
    """A secrets file that others can open is not even read; --fix closes it. It cannot bring back a profile."""
    operator = patient.operator
    file = operator.config / f"{NAME}.secrets.toml"
    file.chmod(0o644)
    found = examine(operator)
    assert found.bad == {"credentials-here"}
    assert found.verdict("drift") == found.verdict("login") == "skipped"
    found = examine(operator, "--fix", "--yes", code=0)
    assert found.verdict("credentials-here") == found.verdict("login") == "ok"
    assert file.stat().st_mode & 0o777 == 0o600

    bucket = '"s3://nobody/ml"\ncredentials = "profile"\nprofile = "gone"\nregion = "us-east-1"\n#'
    with file_with(operator, 'destination = ""', f"destination = {bucket}"):
        found = examine(operator, code=1)
    assert "credentials-here" in found.bad and "gone" in found.of("credentials-here")["evidence"]
    assert found.verdict("drift") == "skipped"


@finds("clock-operator")
def test_a_clock_that_is_off(patient: Served) -> None:
    """Of whatever sudo starts there: the kernel of a lab host is this machine's, with its clock."""
    library = next(build(Image().including("faketime")).glob("usr/lib/*/faketime/libfaketime.so.1"))
    shutil.copy(library, patient.host.path("/usr/lib/libfaketime.so.1"))
    with replaced(patient.host, "/etc/sudoers.d/clock", "Defaults env_file=/etc/clock.env\n"):
        for shift, verdict in (("-2h", "bad"), ("+2m", "warn")):
            environment = f"LD_PRELOAD=/usr/lib/libfaketime.so.1\nFAKETIME={shift}\nFAKETIME_DONT_FAKE_MONOTONIC=1\n"
            patient.host.path("/etc/clock.env").write_text(environment)
            assert examine(patient.operator).verdict("clock-operator") == verdict


# Half done


@finds("move-unfinished", "rotation-unfinished")
def test_what_was_interrupted(patient: Served) -> None:
    """What a power cut leaves of a move of artifacts, and of a rotation of the server's secrets. The commands that
    doctor names end them."""
    host = patient.host
    host.run(["install", "-d", "-m", "700", f"{BASE}/moves"])
    host.path(f"{BASE}/moves/journal.json").write_text('{"since": 1790000000.0}\n')
    host.path(f"{BASE}/moves/rows.jsonl").write_text("")
    host.run(["cp", "-a", f"{BASE}/etc/secrets.env", f"{BASE}/etc/secrets.env.next"])
    found = examine(patient.operator)
    assert found.bad == {"move-unfinished", "rotation-unfinished"}
    assert "mlflow-provision move-artifacts prod" in found.of("move-unfinished")["remedy"]
    assert "mlflow-provision rotate secret prod" in found.of("rotation-unfinished")["remedy"]
    patient.operator.run("move-artifacts", NAME, "--yes")
    patient.operator.run("rotate", "secret", NAME, "--yes")
    assert examine(patient.operator, code=0).bad == set()


# From here


@finds("security-group", "network", "reach", "port-open")
def test_a_port_for_everybody(patient: Served, tmp_path: Path) -> None:
    """An instance of EC2 that lets in the world; that lets nobody in at SSH's port; and one that is not reached from
    here."""
    with MotoS3() as aws:
        name, group = launched(aws)
        ec2 = aws.client("ec2")
        operator = replace(patient.operator, ssh_config=as_ec2(patient.host, name, tmp_path))
        operator.variables = {
            "AWS_ENDPOINT_URL": aws.endpoint, "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"
        }  # fmt: skip
        assert examine(operator, code=0).verdict("security-group") == "ok"
        ec2.authorize_security_group_ingress(
            GroupId=group, IpProtocol="tcp", FromPort=5000, ToPort=5000, CidrIp="0.0.0.0/0"
        )
        told = examine(operator, code=0).of("security-group")
        assert told["verdict"] == "warn" and group in told["evidence"]  # nobody listens behind it

        operator.run("setup", NAME, "--yes", "--listen", "0.0.0.0")
        found = examine(operator, code=1)
        assert found.verdict("security-group") == "bad" and found.verdict("port-open") == "warn"

        patient.host.network.cut()
        try:
            found = examine(operator, code=1)
        finally:
            patient.host.network.restore()
        assert found.bad == {"network", "security-group"}
        assert f"no rule of {group} lets anybody in at port 22" in found.of("security-group")["evidence"]

    examined = replace(patient.operator)
    assert examine(examined, code=0).verdict("reach") == "warn"  # by its address, and not by ssh's own name for it
    with dropped(patient.host, 5000):
        found = examine(examined, code=1)
    assert found.bad == {"reach"} and patient.host.address in found.of("reach")["evidence"]
    patient.operator.run("setup", NAME, "--yes", "--listen", "127.0.0.1")
    assert examine(patient.operator, code=0).bad == set()


def launched(aws: MotoS3) -> tuple[str, str]:
    """The public name of an instance, and its security group."""
    ec2 = aws.client("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    group = ec2.create_security_group(GroupName="doctor", Description="of the tests")["GroupId"]
    answer = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SecurityGroupIds=[group])
    made = answer["Instances"][0]["InstanceId"]
    name = ec2.describe_instances(InstanceIds=[made])["Reservations"][0]["Instances"][0]["PublicDnsName"]
    assert name.startswith("ec2-") and REGION == "us-east-1"
    return name, group


def as_ec2(host: LabHost, name: str, folder: Path) -> Path:
    """An ssh configuration by which the lab host has the public name of an instance."""
    config = host.write_ssh_config(folder)
    proxy = f"ssh -F {host.ssh_config} -o ConnectTimeout=2 -W 127.0.0.1:22 {host.name}"
    there = f"HostName {name}\n    ConnectTimeout 4\n    ProxyCommand {proxy}"
    config.write_text(config.read_text().replace(f"HostName {host.address}", there))
    known = folder / "known_hosts"
    known.write_text(known.read_text().replace(host.address, name))
    return config


@contextmanager
def file_with(operator: Operator, old: str, new: str) -> Iterator[None]:
    """Within the block the deployment file says something else."""
    before = operator.toml(NAME).read_text()
    operator.edit(NAME, old, new)
    try:
        yield
    finally:
        operator.toml(NAME).write_text(before)


@contextmanager
def dropped(host: LabHost, port: int) -> Iterator[None]:
    """A firewall before the host swallows what is meant for a port."""
    rule = ["-i", "eth0", "-p", "tcp", "--dport", str(port), "-j", "DROP"]
    inside = ["ip", "netns", "exec", host.network.namespace, "iptables", "-w"]
    run([*inside, "-I", "INPUT", *rule])
    try:
        yield
    finally:
        run([*inside, "-D", "INPUT", *rule])
