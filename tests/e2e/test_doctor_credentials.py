"""Credentials that are half there, of somebody else, or for nobody's eyes; and a server that hides its store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mlflow_provision.aws.policy import policy
from tests.e2e.doctored import examine, finds
from tests.e2e.instance_metadata import instance_role
from tests.e2e.prepared import Prepared
from tests.e2e.served import NAME, UNIT, Served
from tests.e2e.teamwork import as_admin
from tests.e2e.test_doctor_store import ARTIFACTS, CREDENTIALS, PROFILE, allowed, aws_keys, to_bucket, without
from tests.lab import MotoS3
from tests.lab.s3 import LIKE_AWS

ETC, DROP_IN = f"/opt/mlflow/{NAME}/etc", f"/etc/systemd/system/{UNIT}.service.d/by-hand.conf"
START = f"/opt/mlflow/{NAME}/start_mlflow_server.sh"
UPLOAD = "/api/2.0/mlflow-artifacts/artifacts"
CANARIES = {"AWS_SECRET_ACCESS_KEY": "canary/Of-the+environment", "AWS_SESSION_TOKEN": "canary-of-a-session"}


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    with MotoS3(enforce_iam=True, program=LIKE_AWS) as server:
        server.create_bucket("team")
        yield server


@pytest.fixture(scope="module")
def patient(set_up: Prepared, s3: MotoS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that keeps its artifacts in the bucket, and its backups."""
    with set_up.copy(tmp_path_factory.mktemp("home") / "operator") as served:
        to_bucket(served, s3)
        yield served


def restart(patient: Served) -> None:
    """As somebody does who does not use this tool."""
    patient.host.run(["systemctl", "daemon-reload"])
    patient.host.run(["systemctl", "restart", UNIT])
    patiently = ["--retry", "120", "--retry-delay", "1", "--retry-connrefused"]
    patient.host.run(["curl", "-sS", "--fail", *patiently, "-o", "/dev/null", "http://127.0.0.1:5000/health"])


@contextmanager
def environment(patient: Served, **variables: str) -> Iterator[None]:
    """Within the block the server has these variables, too, by a drop-in of its unit that somebody wrote. It has them
    until its next start, which is another test's."""
    path = patient.host.path(DROP_IN)
    path.parent.mkdir(exist_ok=True)
    lines = (f'Environment="{name}={value}"\n' for name, value in variables.items())
    path.write_text("[Service]\n" + "".join(lines))
    restart(patient)
    try:
        yield
    finally:
        path.unlink()
        patient.host.run(["systemctl", "daemon-reload"])


def changed(patient: Served, path: str, old: str, new: str) -> None:
    """Somebody changed a file of the server."""
    text = patient.host.path(path).read_text()
    assert old in text, text
    patient.host.path(path).write_text(text.replace(old, new))


def mended(patient: Served) -> None:
    """`--fix` puts everything right."""
    found = examine(patient.operator, "--fix", "--yes", code=0)
    assert (found.bad, found.warned) == (set(), set())


@finds("credentials-partial", "drift")
def test_half_a_key_in_the_file(patient: Served) -> None:
    changed(patient, CREDENTIALS, "aws_secret_access_key", "# aws_secret_access_key")
    found = examine(patient.operator)
    assert (found.bad, found.warned) == ({"credentials-partial", "drift"}, set())
    for word in (CREDENTIALS, PROFILE, "aws_secret_access_key"):
        assert word in found.of("credentials-partial")["evidence"]
    assert (found.verdict("store"), found.verdict("artifact-roundtrip")) == ("skipped", "skipped")
    mended(patient)


@finds("profile-mismatch", "drift")
def test_a_profile_that_is_not_there(patient: Served) -> None:
    changed(patient, f"{ETC}/server.env", f"AWS_PROFILE={PROFILE}", "AWS_PROFILE=wrok")
    restart(patient)
    found = examine(patient.operator)
    assert found.bad - {"server-errors"} == {"profile-mismatch", "drift"}
    assert "wrok" in found.of("profile-mismatch")["evidence"] and PROFILE in found.of("profile-mismatch")["evidence"]
    mended(patient)


@finds("proxy-mode", "drift")
def test_a_server_that_hands_out_no_artifacts(patient: Served) -> None:
    changed(patient, START, "-m mlflow server", "-m mlflow server --no-serve-artifacts")
    restart(patient)
    found = examine(patient.operator)
    assert found.bad == {"proxy-mode", "drift", "artifact-roundtrip"}
    assert "--no-serve-artifacts" in found.of("proxy-mode")["evidence"]
    mended(patient)


@finds("server-errors", "store")
def test_no_secret_out_of_the_log(patient: Served, s3: MotoS3) -> None:
    """What the server logs of an upload that failed has its name in it, and the name is a secret."""
    with allowed(s3, without("s3:PutObject")), as_admin(patient.operator, NAME) as admin:
        answer = admin.call("PUT", f"{UPLOAD}/1/{password(patient)}", body=b"x")
        assert answer.status == 500, (answer.status, answer.text)
        found = examine(patient.operator)
    assert {"server-errors", "store"} <= found.bad
    assert "ml/1/********" in found.of("server-errors")["evidence"]


@finds("proxy-mode")
def test_a_server_that_hands_out_addresses_of_its_bucket(patient: Served) -> None:
    with environment(patient, MLFLOW_DEFAULT_ARTIFACT_ROOT=ARTIFACTS):
        found = examine(patient.operator)
        assert found.bad - {"drift"} == {"proxy-mode"}
        assert ARTIFACTS in found.of("proxy-mode")["evidence"]
        assert "MLFLOW_DEFAULT_ARTIFACT_ROOT" in found.of("proxy-mode")["remedy"]


@finds("artifact-roundtrip")
def test_a_proxy_between_the_server_and_its_store(patient: Served) -> None:
    with environment(patient, HTTP_PROXY="http://127.0.0.1:9", HTTPS_PROXY="http://127.0.0.1:9"):
        found = examine(patient.operator)
        assert found.bad - {"drift"} == {"artifact-roundtrip"}
        assert "roxy" in found.of("artifact-roundtrip")["evidence"]


@finds("profile-mismatch")
def test_a_key_that_stands_before_the_profile(patient: Served, s3: MotoS3) -> None:
    """It is one that may do less: nobody understands why it does not work, for the profile's may."""
    keys = s3.create_user("somebody", policy("s3://elsewhere/ml"))
    with environment(patient, AWS_ACCESS_KEY_ID=keys.key, AWS_SECRET_ACCESS_KEY=keys.secret):
        found = examine(patient.operator)
        assert found.bad - {"drift"} == {"profile-mismatch", "store"}
        assert keys.key in found.of("profile-mismatch")["evidence"]
        assert "systemctl cat" in found.of("profile-mismatch")["remedy"]


@finds("credentials-partial")
def test_half_a_key_in_the_environment(patient: Served) -> None:
    with environment(patient, **CANARIES):
        found = examine(patient.operator)
        assert found.bad - {"drift", "server-errors"} == {"credentials-partial"}
        assert "environment" in found.of("credentials-partial")["evidence"]
    restart(patient)
    assert examine(patient.operator, code=0).warned == set()


@finds("profile-mismatch")
def test_a_key_that_stands_before_the_role(patient: Served, s3: MotoS3) -> None:
    keys = aws_keys(patient)
    with instance_role(patient.host, keys) as metadata:
        metadata.session_token = ""  # which this S3 did not give
        file = patient.operator.toml(NAME)
        lines = file.read_text().replace('credentials = "profile"', 'credentials = "instance-role"').splitlines()
        file.write_text("\n".join(line for line in lines if not line.startswith("profile = ")) + "\n")
        patient.operator.run("setup", NAME, "--yes")
        found = examine(patient.operator, code=0)
        assert {found.verdict("profile-mismatch"), found.verdict("store")} == {"ok"}
        with environment(patient, AWS_ACCESS_KEY_ID=keys.key, AWS_SECRET_ACCESS_KEY=keys.secret):
            found = examine(patient.operator)
            assert found.bad - {"drift"} == {"profile-mismatch"}
            assert "role" in found.of("profile-mismatch")["evidence"]


def password(patient: Served) -> str:
    """The administrator's."""
    text = (patient.operator.config / f"{NAME}.secrets.toml").read_text()
    (found,) = (line.split('"')[1] for line in text.splitlines() if line.startswith("admin_password"))
    return found


def test_no_secret_was_shown(patient: Served) -> None:
    told = "".join(text for text in patient.operator.shown if '"findings"' in text)
    assert told
    for secret in (password(patient), *CANARIES.values()):
        assert secret not in told
