"""What doctor judges on this side: passwords, certificates, clocks, drift, what the host says, firewalls."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision import __version__
from mlflow_provision.agent.protocol import CHANGED, Result
from mlflow_provision.aws import security_groups
from mlflow_provision.aws.security_groups import Admission, Exposure, Opening, sources
from mlflow_provision.config import Artifacts, Deployment, MLflow, Secrets, save_secrets
from mlflow_provision.doctor import certificate, firewall, host_checks, secrets
from mlflow_provision.doctor.case import Case
from mlflow_provision.doctor.drift import _judged, _own
from mlflow_provision.doctor.finding import addressed, found
from mlflow_provision.errors import ProvisionError

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
EC2_NAME = "ec2-203-0-113-7.eu-west-1.compute.amazonaws.com"


def case(path: Path = Path("server.toml"), host: str = "box", **fields: Any) -> Case:
    return Case(Deployment("server", host, **fields), path)


@pytest.mark.parametrize(
    "password",
    ["password1234", "Password123!", "P@ssw0rd2026", "admin-2026-11", "mlflow-123456", "changeme!!!!", "ana123456789"],
)
def test_passwords_that_everybody_tries(password: str) -> None:
    verdict, why = secrets.judged(password, "ana")
    assert verdict == "bad" and password not in why


@pytest.mark.parametrize("password", ["123456789012", "aaaaaaaaaaaaaaaa", "abababababab"])
def test_passwords_that_are_hardly_any(password: str) -> None:
    assert secrets.judged(password, "ana")[0] == "warn"


@pytest.mark.parametrize("password", ["correct horse battery", "x7Kd-93mP-qq2v", "passwordless-otter-7"])
def test_passwords_that_will_do(password: str) -> None:
    assert secrets.judged(password, "ana")[0] == "ok"


def test_a_generated_password_is_strong() -> None:
    from mlflow_provision.config import generate_password

    assert secrets.judged(generate_password(), "admin")[0] == "ok"


def test_a_secrets_file_that_others_can_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_PROVISION_ADMIN_PASSWORD", raising=False)
    one = case(tmp_path / "server.toml")
    assert secrets.have_secrets(one).verdict == "warn"  # no password is known
    save_secrets(one.path, Secrets(admin_password="CANARY-password-of-it"))
    assert secrets.have_secrets(one).verdict == "ok" and one.keys_known
    (tmp_path / "server.secrets.toml").chmod(0o644)
    two = case(one.path)
    finding = secrets.have_secrets(two)
    assert finding.verdict == "bad" and "chmod 600" in finding.remedy and not two.keys_known
    assert finding.fix == "close"
    assert "CANARY" not in str(finding) and "CANARY" not in repr(one)


def test_a_profile_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    artifacts = Artifacts("s3://bucket/x", region="eu-west-1", credentials="profile", profile="gone")
    finding = secrets.have_secrets(case(tmp_path / "server.toml", artifacts=artifacts))
    assert finding.verdict == "bad" and "gone" in finding.evidence


def der(first: datetime, last: datetime) -> str:
    """A certificate of our own making, valid between these."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mlflow.example.org")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(7).not_valid_before(first).not_valid_after(last)
    return base64.b64encode(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)).decode()


@pytest.mark.parametrize(
    ("first", "last", "verdict"),
    [(-10, 80, "ok"), (-80, 15, "warn"), (-80, 3, "bad"), (-80, -1, "bad"), (1, 90, "bad")],
)
def test_certificates(first: int, last: int, verdict: str) -> None:
    data = {"der": der(NOW + timedelta(first), NOW + timedelta(last)), "where": "/etc/tls/cert.pem"}
    finding = certificate.judged(data, NOW)
    assert finding.verdict == verdict and "/etc/tls/cert.pem is valid" in finding.evidence.replace("was", "is")
    assert bool(finding.remedy) == (verdict != "ok")


def test_a_certificate_that_is_none() -> None:
    assert certificate.judged({"der": base64.b64encode(b"no").decode()}).verdict == "unknown"
    assert certificate.judged({"der": "?"}).verdict == "unknown"


@pytest.mark.parametrize(("skew", "verdict"), [(0.2, "ok"), (-90, "warn"), (400, "bad"), (-400, "bad")])
def test_clocks(skew: float, verdict: str) -> None:
    one = case()
    one.skew = skew
    finding = host_checks.clocks(one)
    assert finding.verdict == verdict
    if verdict != "ok":
        assert ("ahead of" if skew > 0 else "behind") in finding.evidence


def result(step: str) -> Result:
    return Result(step, f"resource {step}", CHANGED, 0.0, "update")


def test_drift_tells_what_differs() -> None:
    assert _judged([], __version__).verdict == "ok"
    finding = _judged([result("unit")], __version__)
    assert finding.verdict == "bad" and finding.evidence == "resource unit: update" and finding.fix == "apply"
    many = _judged([result(str(number)) for number in range(20)], __version__)
    assert "… and 12 more" in many.evidence


def test_a_copy_that_is_only_kept_is_no_fault() -> None:
    """A place of backups that was just decided changes nothing of the server."""
    copy = result("deployment.toml")
    finding = _judged([copy], __version__)
    assert finding.verdict == "warn" and "the server is as it should be" in finding.cause
    assert _judged([copy, result("service")], __version__).verdict == "bad"


def test_what_other_checks_tell_is_no_drift() -> None:
    one = case()
    differing = [result("service"), result("record")]
    assert [left.step for left in _own(differing, one)] == ["service"]
    one.add(found("service-running", "bad", "it was stopped"))
    assert _own(differing, one) == []


def test_a_newer_tool_than_the_one_that_set_it_up_is_worth_a_look() -> None:
    finding = _judged([result("agent")], "0.0.1")
    assert finding.verdict == "warn" and "0.0.1" in finding.cause and finding.fix == "apply"


def test_another_version_in_the_file_is_for_upgrade() -> None:
    from mlflow_provision.doctor.drift import drift

    one = case(mlflow=MLflow("3.17.2"))
    one.keys_known, one.facts = True, {"applied": {"mlflow_version": "3.12.0"}}
    finding = drift(one)
    assert finding.verdict == "bad" and "upgrade NAME --to 3.17.2" in finding.remedy and not finding.fix
    one.facts = {"applied": {"mlflow_version": "3.18.0"}}
    assert "`mlflow-provision rollback NAME`" in drift(one).remedy
    one.keys_known = False
    assert drift(one).verdict == "skipped"


def test_the_words_of_the_host_come_before_those_of_the_catalog() -> None:
    said = {
        "check": "store",
        "verdict": "bad",
        "evidence": "403",
        "data": {"cause": "C", "remedy": "R", "fix": "apply"},
    }
    finding = host_checks._finding(said)
    assert (finding.cause, finding.remedy, finding.fix) == ("C", "R", "apply")
    plain = host_checks._finding({"check": "venv-broken", "verdict": "bad", "evidence": "x"})
    assert plain.fix == "reinstall" and plain.cause and plain.remedy
    kept = host_checks._finding({"check": "venv-broken", "verdict": "bad", "data": {"no_fix": True}})
    assert kept.fix == ""
    fine = host_checks._finding({"check": "store", "verdict": "ok", "evidence": "all", "data": {"remedy": "R"}})
    assert fine.remedy == "" and fine.evidence == "all"
    with pytest.raises(ProvisionError):
        host_checks._finding({"check": "nonsense", "verdict": "ok"})


def test_a_certificate_that_the_host_refuses_is_bad_whatever_its_dates() -> None:
    data = {"der": der(NOW - timedelta(9999), NOW + timedelta(9999)), "where": "x"}
    raw = {"check": "certificate", "verdict": "bad", "evidence": "wrong name", "data": data}
    assert host_checks._finding(raw).evidence == "wrong name"
    assert host_checks._finding({**raw, "verdict": "ok"}).verdict == "ok"


def test_remedies_can_be_typed_as_they_are() -> None:
    artifacts = Artifacts("s3://b/x", region="eu-west-1", credentials="profile", profile="my team")
    deployment = Deployment("prod", "ana@box", artifacts=artifacts)
    finding = found("store", "bad", "NAME HOST", remedy="`mlflow-provision verify NAME`; ssh HOST; --profile PROFILE")
    told = addressed(finding, deployment)
    assert told.remedy == "`mlflow-provision verify prod`; ssh ana@box; --profile 'my team'"
    assert told.evidence == "NAME HOST"
    here = Deployment("local", "local", scope="user")
    assert "HOST" not in addressed(found("name", "bad", remedy="ssh HOST df -h; `df -i` on the host"), here).remedy


# Security groups


def exposure(port_open: bool, ssh_open: bool = False, public: bool = True) -> Exposure:
    wide = (Opening("sg-1", "wide", "0.0.0.0/0"),)
    return Exposure("i-1", 5000, ("sg-1",), wide if port_open else (), wide if ssh_open else (), public)


@pytest.mark.parametrize(
    ("seen", "listen", "verdict"),
    [
        (exposure(True), "0.0.0.0", "bad"),
        (exposure(True), "127.0.0.1", "warn"),  # nobody answers there, yet
        (exposure(False, ssh_open=True), "0.0.0.0", "ok"),
        (exposure(False), "0.0.0.0", "ok"),
        (None, "0.0.0.0", "skipped"),
    ],
)
def test_a_port_that_is_open_to_the_world(
    monkeypatch: pytest.MonkeyPatch, seen: Exposure | None, listen: str, verdict: str
) -> None:
    asked: list[tuple[Any, ...]] = []

    def exposure_of(*words: Any) -> Exposure | None:
        asked.append(words)
        return seen

    monkeypatch.setattr(security_groups, "exposure", exposure_of)
    finding = firewall.exposed(case(host=f"ubuntu@{EC2_NAME}", mlflow=MLflow(listen=listen)))
    assert finding.verdict == verdict
    assert asked == [("", "eu-west-1", EC2_NAME, 5000)]
    if verdict == "bad":
        assert "0.0.0.0/0" in finding.evidence and "sg-1" in finding.evidence


def test_only_what_can_be_ec2_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*words: Any) -> None:
        raise AssertionError(words)

    monkeypatch.setattr(security_groups, "exposure", never)
    for host in ("ana@10.0.0.7", "mlflow.example.org", "local"):
        assert firewall.exposed(case(host=host)).verdict == "skipped"


@pytest.mark.parametrize(
    ("seen", "verdict", "said"),
    [
        (Admission("i-1", "stopped", ("sg-1",), ("0.0.0.0/0",)), "bad", "i-1 is stopped"),
        (Admission("i-1", "running", ("sg-1",), ()), "bad", "no rule of sg-1"),
        (Admission("i-1", "running", ("sg-1",), ("198.51.100.0/24",)), "warn", "198.51.100.0/24"),
        (None, "skipped", "do not show"),
    ],
)
def test_why_the_network_is_broken(
    monkeypatch: pytest.MonkeyPatch, seen: Admission | None, verdict: str, said: str
) -> None:
    monkeypatch.setattr(security_groups, "admission", lambda *words: seen)
    finding = firewall.shuts_out(case(host=EC2_NAME))
    assert finding.verdict == verdict and said in finding.evidence
    if verdict == "bad":
        assert "aws ec2" in finding.remedy


def test_from_where_a_rule_lets_in() -> None:
    rules = [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.51.100.0/24"}]},
        {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-2"}], "PrefixListIds": [{"PrefixListId": "pl-1"}]},
        {"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "IpRanges": [{"CidrIp": "203.0.113.0/24"}]},
    ]
    assert list(sources([{"IpPermissions": rules}], 22)) == ["198.51.100.0/24", "pl-1", "sg-2"]
