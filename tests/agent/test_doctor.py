"""How checks are made: in order, each by itself, without a secret and without a change."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent import doctor
from mlflow_provision.agent.doctor.checks import disk
from mlflow_provision.agent.doctor.finding import Finding, ago, bad, ok
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.protocol import AgentError, Result, Start
from tests.agent.doctor_ward import Ward


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def test_every_check_exists_and_comes_after_those_it_needs() -> None:
    from importlib import import_module

    before: set[str] = set()
    for name, check in doctor.CHECKS.items():
        module, _, function = check.where.partition(".")
        assert callable(getattr(import_module(f"mlflow_provision.agent.doctor.checks.{module}"), function))
        assert set(check.needs) <= before, name
        before.add(name)
    assert set(doctor.MENDABLE) <= before


def test_all_findings_are_of_one_shape_and_told_as_they_come(ward: Ward) -> None:
    findings = ward.findings()
    assert [finding["check"] for finding in findings] == list(doctor.CHECKS)
    for finding in findings:
        assert set(finding) == {"check", "verdict", "evidence", "data", "seconds"}
        assert finding["verdict"] in ("ok", "bad", "warn", "skipped", "unknown")
        assert finding["evidence"]
    json.dumps(findings)
    assert [event.step for event in ward.events if isinstance(event, Start)] == list(doctor.CHECKS)
    assert [event.step for event in ward.events if isinstance(event, Result)] == list(doctor.CHECKS)


def test_nothing_unknown_and_nothing_bad_but_that_no_server_runs(ward: Ward) -> None:
    found = ward.look()
    wrong = {name for name, finding in found.items() if finding["verdict"] in ("bad", "unknown")}
    assert wrong == {"service-running"}
    assert found["health"]["evidence"] == "not looked at, because service-running is bad"
    assert found["artifact-roundtrip"]["verdict"] == "skipped"


def test_looking_changes_nothing(ward: Ward) -> None:
    def state() -> dict[str, str]:
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else oct(path.stat().st_mode)
            for path in sorted(ward.root.rglob("*"))
        }

    before = state()
    ward.findings()
    assert state() == before


def test_a_check_that_crashes_hides_no_other(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(patient: Patient) -> Finding:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(disk, "space", crash)
    found = ward.look("disk", "inodes")
    assert found["disk"]["verdict"] == "unknown"
    assert "ZeroDivisionError: oh" in found["disk"]["evidence"]
    assert found["inodes"]["verdict"] in ("ok", "skipped")


def test_a_check_that_hangs_is_given_up(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()

    def hang(patient: Patient) -> Finding:
        waiting.wait(20)
        return ok("at last")

    monkeypatch.setattr(disk, "space", hang)
    monkeypatch.setitem(doctor.CHECKS, "disk", doctor.Check("disk.space", (), 0.3))
    began = time.monotonic()
    found = ward.look("disk", "inodes")
    waiting.set()
    assert time.monotonic() - began < 5
    assert found["disk"]["verdict"] == "unknown"
    assert "no answer within" in found["disk"]["evidence"]


def test_a_file_that_may_not_be_read_makes_one_check_unknown(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(patient: Patient) -> Finding:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(disk, "space", refuse)
    assert ward.one("disk")["evidence"] == "this could not be looked at: Permission denied: /somewhere"


def test_being_asked_to_stop_ends_it(ward: Ward) -> None:
    from mlflow_provision.agent.doctor.examination import examine

    with pytest.raises(AgentError) as caught:
        examine(ward.data, ward.events.append, lambda: True)
    assert caught.value.kind == "interrupted"


def test_no_secret_gets_out_of_what_was_seen(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    ward.write_job({"settings": {"place": {"secret_access_key": "secret-of-backups"}, "ping_url": "https://ping/ab12"}})
    said = (
        "secret-of-flask correct horse battery secret-of-backups https://ping/ab12 postgres://me:hush@db/x "
        "Authorization: Basic YWRtaW4= and MLFLOW"
    )
    monkeypatch.setattr(disk, "space", lambda patient: bad(said, last=[{"line": said}]))
    finding = ward.one("disk")
    for text in (finding["evidence"], json.dumps(finding["data"]), repr(ward.events)):
        for secret in ("secret-of-flask", "correct horse", "secret-of-backups", "ab12", "hush", "YWRtaW4="):
            assert secret not in text
        assert "MLFLOW" in text


def test_where_secrets_are_is_none_itself(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduled backup names the files that it takes along, the one with the server's secrets among them."""
    path = str(ward.etc / "secrets.env")
    ward.write_job({"settings": {"source": {"files": {"secrets.env": path}}}})
    monkeypatch.setattr(disk, "space", lambda patient: bad(f"others may read {path}"))
    assert ward.one("disk")["evidence"] == f"others may read {path}"


def test_a_check_may_find_several_things(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Finding] = [ok("one"), bad("two"), ok("three")]
    monkeypatch.setattr(disk, "space", lambda patient: found)
    assert [finding["evidence"] for finding in ward.findings("disk")] == ["one", "two", "three"]


def test_where_nothing_is_set_up_one_finding_says_so(ward: Ward) -> None:
    ward.data["base"] = str(ward.root / "other")
    ward.data["state"] = str(ward.root / "other" / "deployment.json")
    found = ward.look()
    assert [name for name, finding in found.items() if finding["verdict"] != "skipped"] == ["service-installed"]
    assert "nothing was set up here" in found["service-installed"]["evidence"]


def test_the_verb_answers_with_findings(ward: Ward) -> None:
    answer: dict[str, Any] = doctor.serve({**ward.data, "only": ["disk"]}, "ada", ward.events.append, lambda: False)
    assert [finding["check"] for finding in answer["findings"]] == ["disk"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.1, "1 second ago"),
        (90, "90 seconds ago"),
        (600, "10 minutes ago"),
        (7300, "2 hours ago"),
        (86400, "1 day ago"),
    ],
)
def test_how_long_ago(seconds: float, words: str) -> None:
    assert ago(seconds) == words
