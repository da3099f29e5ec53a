"""`doctor` as a person or a program runs it, on a host that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_provision import host as host_package
from mlflow_provision.agent.protocol import Done, Event, Start
from mlflow_provision.config import Backup, Deployment
from mlflow_provision.doctor.catalog import CATALOG
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Reply
from mlflow_provision.host.hops import Broken
from tests.unit.conftest import PASSWORD, CommandLine
from tests.unit.fake_host import FakeHost

APPLIED = {"name": "server", "mlflow_version": "3.17.2"}
Raw = dict[str, Any]


def raw(check: str, verdict: str = "ok", evidence: str = "", **data: Any) -> Raw:
    return {"check": check, "verdict": verdict, "evidence": evidence, "data": data}


class SickHost(FakeHost):
    """Says what is wrong with it until that was put right."""

    def __init__(self, *findings: Raw, pending: tuple[str, ...] = (), **changed_facts: Any) -> None:
        facts = {"applied": APPLIED, "release_installed": True, "admin_exists": True}
        super().__init__(pending, **{**facts, **changed_facts})
        self.findings = {finding["check"]: finding for finding in (raw("health"), *findings)}
        self.index: dict[str, Any] = {"error": "", "hint": "", "versions": ["3.17.2"], "half_published": []}
        self.heals = {"mend": True, "apply": True, "start": True}

    def request(self, verb: str, data: dict[str, Any], reply: Reply | None = None) -> Iterator[Event]:
        if verb == "facts" and data["release"] == "" and self.index:
            self.requests.append((verb, data))
            yield Done({"index": self.index})
            return
        if verb != "doctor":
            yield from super().request(verb, data, reply)
            if verb in ("apply", "start"):
                self._heal(verb, ("service-running", "venv-broken", "files-owner"))
            return
        self.requests.append((verb, data))
        self._end(verb)
        if data.get("action") == "mend":
            self._heal("mend", data["mend"])
            yield Done({"mended": {check: f"3 files of {check} put right" for check in data["mend"]}})
            return
        for check in self.findings:
            yield Start(check, check)
        yield Done({"findings": list(self.findings.values())})

    def _heal(self, verb: str, checks: Any) -> None:
        for check in checks if self.heals[verb] else ():
            if check in self.findings:
                self.findings[check] = raw(check)


@pytest.fixture
def line(command_line: CommandLine) -> CommandLine:
    command_line.known()
    return command_line


def sick(line: CommandLine, *findings: Raw, **more: Any) -> SickHost:
    line.host = SickHost(*findings, **more)
    return line.host


def by_check(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["check"]: finding for finding in document["findings"]}


STOPPED = raw("service-running", "bad", "inactive (dead) since Tuesday")


def test_a_healthy_server(line: CommandLine) -> None:
    host = sick(line)
    result = line.run("doctor")
    assert result.exit_code == 0, result.output
    assert "server is well" in result.stdout and "BAD" not in result.stdout and "--fix" not in result.stdout
    assert set(host.verbs) == {"facts", "doctor", "plan"}
    assert host.closed
    document = line.json("doctor")
    assert document["ok"] and {one["verdict"] for one in document["findings"]} <= {"ok", "skipped"}
    assert PASSWORD not in str(document)


def test_what_is_wrong_is_said_with_evidence_cause_and_remedy(line: CommandLine) -> None:
    sick(line, STOPPED)
    result = line.run("doctor")
    assert result.exit_code == ExitCode.FAILED
    assert "BAD   it does not run" in result.stdout and "saw  inactive (dead) since Tuesday" in result.stdout
    assert "why  Somebody stopped it" in result.stdout and "do   mlflow-provision start server" in result.stdout
    assert "1 thing wrong with server" in result.stdout
    assert "It can put it right: mlflow-provision doctor server --fix" in result.stdout
    document = line.json("doctor")
    assert document["exit_code"] == 1 and by_check(document)["service-running"]["fix"] == "start"
    assert "findings_before" not in document


def test_what_is_only_worth_a_look_does_not_fail(line: CommandLine) -> None:
    sick(line, raw("backup-age", "warn", "6 days"), raw("memory-killed", "unknown", "dmesg cannot be read"))
    result = line.run("doctor")
    assert result.exit_code == 0
    assert "look  there is no recent backup" in result.stdout and "1 thing to look at" in result.stdout
    assert "?     could not be checked: the kernel let it live" in result.stdout


def test_all_shows_what_is_fine_too(line: CommandLine) -> None:
    sick(line)
    few, many = line.run("doctor").stdout, line.run("doctor", "--all").stdout
    assert "ok    it answers" in many and "ok    it answers" not in few


def test_quiet_says_it_with_the_exit_code(line: CommandLine) -> None:
    sick(line, STOPPED)
    result = line.run("doctor", "--quiet")
    assert result.exit_code == 1 and result.stdout == ""


def test_the_way_ends_at_a_broken_hop(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(deployment: Deployment, *_: object) -> None:
        raise Broken("network", "box cannot be reached at 10.0.0.7 port 22: no answer within 10 s", "is it running?")

    monkeypatch.setattr(host_package, "connect", connect)
    result = line.run("doctor")
    assert result.exit_code == ExitCode.FAILED
    assert "BAD   its SSH port does not answer" in result.stdout and "do   is it running?" in result.stdout
    found = by_check(line.json("doctor"))
    assert [found[hop]["verdict"] for hop in ("name", "network", "sshd", "python")] == [
        "ok",
        "bad",
        "skipped",
        "skipped",
    ]
    assert "health" not in found and found["security-group"]["verdict"] == "skipped"
    assert line.run("doctor", "--fix").exit_code == ExitCode.FAILED  # nothing to ask about


def test_a_host_that_cannot_be_examined_is_not_well_known(line: CommandLine) -> None:
    host = sick(line)
    host.failing["doctor"] = ProvisionError("our program on box was killed")
    found = by_check(line.json("doctor"))
    assert found["service-installed"]["verdict"] == "unknown"
    assert "was killed" in found["service-installed"]["evidence"] and found["drift"]["verdict"] == "ok"


def test_drift_and_its_fix(line: CommandLine) -> None:
    host = sick(line, pending=("unit", "record"))
    found = by_check(line.json("doctor"))
    assert found["drift"]["verdict"] == "bad" and found["drift"]["evidence"] == "resource unit: update"
    result = line.run("doctor", "--fix")
    assert result.exit_code == ExitCode.USAGE and "--fix --yes" in result.stderr
    assert "apply" not in host.verbs
    result = line.run("doctor", "--fix", "--yes")
    assert result.exit_code == 0, result.output
    assert "2 changes" in result.stdout and "Looking again" in result.stdout and "server is well" in result.stdout
    (request,) = [data for verb, data in host.requests if verb == "apply"]
    assert request["audit"] and request["lock"] and request["what"] == "doctor server --fix"


def test_an_old_secrets_file_does_not_bring_an_old_password_back(line: CommandLine) -> None:
    host = sick(line, pending=("unit",))
    line.run("doctor", "--fix", "--yes")
    for verb, data in host.requests:
        if verb in ("plan", "apply"):
            (admin,) = [one for one in data["resources"] if one["id"] == "admin"]
            assert admin["password"] == ""


def test_a_server_that_is_down_is_started(line: CommandLine) -> None:
    host = sick(line, STOPPED)
    result = line.run("doctor", "--fix", "--yes")
    assert result.exit_code == 0, result.output
    assert "start" in host.verbs and "apply" not in host.verbs and "started" in result.stdout
    document = line.json("doctor", "--fix", "--yes")
    assert "findings_before" not in document  # nothing was left to do


def test_the_document_has_what_was_found_before(line: CommandLine) -> None:
    sick(line, STOPPED)
    document = line.json("doctor", "--fix", "--yes")
    before = {one["check"]: one["verdict"] for one in document["findings_before"]}
    assert before["service-running"] == "bad" and by_check(document)["service-running"]["verdict"] == "ok"
    assert document["ok"]


def test_what_could_not_be_put_right_fails(line: CommandLine) -> None:
    host = sick(line, STOPPED)
    host.heals["start"] = False
    host.status |= {"healthy": False, "problem": "exit code 1"}
    result = line.run("doctor", "--fix", "--yes")
    assert result.exit_code == ExitCode.FAILED and "it does not start: exit code 1" in result.stdout


def test_the_host_mends_its_own_files(line: CommandLine) -> None:
    host = sick(line, raw("files-owner", "bad", "3 files belong to root", fix="mend"))
    result = line.run("doctor", "--fix", "--yes")
    assert result.exit_code == 0 and "3 files of files-owner put right" in result.stdout
    (request,) = [data for verb, data in host.requests if verb == "doctor" and data.get("action") == "mend"]
    assert request["mend"] == ["files-owner"] and request["audit"] and request["lock"]
    assert "apply" not in host.verbs


def test_a_broken_environment_is_installed_again(line: CommandLine) -> None:
    host = sick(line, raw("venv-broken", "bad", "No module named sqlalchemy"))
    result = line.run("doctor", "--fix", "--yes")
    assert result.exit_code == 0, result.output
    (request,) = [data for verb, data in host.requests if verb == "apply"]
    stamp, *rest = request["resources"]
    release = next(one for one in rest if one["id"] == "release")
    assert stamp["path"] == f"{release['path']}/release.json"


def test_a_broken_environment_stays_where_nothing_can_take_its_place(line: CommandLine) -> None:
    index = {"error": "the package index cannot be reached", "hint": "", "versions": [], "half_published": []}
    host = sick(line, raw("venv-broken", "bad", "No module named sqlalchemy"), index=None)
    host.index = index
    result = line.run("doctor", "--fix", "--yes")
    assert result.exit_code == ExitCode.FAILED and "the package index cannot be reached" in result.stdout
    assert "apply" not in host.verbs


def test_what_stands_in_the_way_of_a_setup_is_said_and_the_rest_is_done(line: CommandLine) -> None:
    host = sick(line, STOPPED, pending=("unit",), root={"path": "/opt/mlflow", "state": "foreign"})
    result = line.run("doctor", "--fix", "--yes")
    assert "cannot be put right: /opt/mlflow is not empty" in result.stdout
    assert "start" in host.verbs and "apply" not in host.verbs
    assert result.exit_code == ExitCode.FAILED  # the unit differs still


def test_a_plan_that_is_seen_only_after_mending(line: CommandLine) -> None:
    host = sick(line, raw("files-owner", "bad", "mlflow.db belongs to root"), pending=("unit",))
    failing = ProvisionError("mlflow.db: unable to open database file")
    host.failing["plan"] = failing
    heal = host._heal

    def healed(verb: str, checks: Any) -> None:
        host.failing.pop("plan", None)
        heal(verb, checks)

    host._heal = healed  # type: ignore[method-assign]
    result = line.run("doctor", "--fix", "--yes")
    assert "is seen when its files are put right: mlflow.db" in result.stdout
    assert result.exit_code == 0, result.output
    assert host.verbs.index("apply") > next(
        number for number, (_, data) in enumerate(host.requests) if data.get("mend")
    )


@pytest.mark.usefixtures("person")
def test_a_person_is_asked_and_may_say_no(line: CommandLine) -> None:
    host = sick(line, STOPPED)
    result = line.run("doctor", "--fix", answers="n\n")
    assert "Put 1 finding right?" in result.stderr and "Nothing was changed." in result.stdout
    assert "start" not in host.verbs and result.exit_code == ExitCode.FAILED
    assert line.run("doctor", "--fix", answers="y\n").exit_code == 0


def test_a_secrets_file_that_others_can_open_is_closed_first(line: CommandLine) -> None:
    """Then it is known what the host should be like, and the rest is put right in the same run."""
    host = sick(line, STOPPED, pending=("unit",))
    secrets = line.folder / "server.secrets.toml"
    secrets.chmod(0o644)
    before = line.json("doctor")
    assert by_check(before)["credentials-here"]["fix"] == "close" and by_check(before)["drift"]["verdict"] == "skipped"
    document = line.json("doctor", "--fix", "--yes")
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert document["ok"] and "apply" in host.verbs
    assert {one["check"] for one in document["findings_before"] if one["verdict"] == "bad"} >= {"credentials-here"}


def test_it_is_closed_even_where_the_host_is_out_of_reach(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(deployment: Deployment, *_: object) -> None:
        raise Broken("name", "the name 'box' is not known", "check the spelling")

    monkeypatch.setattr(host_package, "connect", connect)
    secrets = line.folder / "server.secrets.toml"
    secrets.chmod(0o640)
    result = line.run("doctor", "--fix", "--yes")
    assert result.exit_code == ExitCode.FAILED and secrets.stat().st_mode & 0o777 == 0o600
    assert "1 thing wrong with server" in result.stdout


def test_without_keys_nothing_is_made_of_them(command_line: CommandLine) -> None:
    """A secret of the deployment is missing: its files on the host are neither compared nor written."""
    path = command_line.known(backup=Backup("s3://elsewhere/x", credentials="keys"))
    host = sick(command_line, STOPPED)
    found = by_check(command_line.json("doctor", path.stem, "--fix", "--yes"))
    assert found["credentials-here"]["verdict"] == "bad" and found["drift"]["verdict"] == "skipped"
    assert found["service-running"]["verdict"] == "ok" and "apply" not in host.verbs


def test_nothing_was_set_up(line: CommandLine) -> None:
    missing = raw("service-installed", "bad", "there is no mlflow-server.service")
    host = sick(line, missing, applied=None, release_installed=False, admin_exists=False)
    result = line.run("doctor")
    assert "mlflow-provision setup server" in result.stdout and result.exit_code == 1
    assert "plan" not in host.verbs


def test_every_title_is_shown_while_it_is_looked_at(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_provision.console import Console

    shown: list[str] = []
    monkeypatch.setattr(Console, "moving", lambda self, title, newest="": shown.append(title))
    sick(line)
    line.run("doctor")
    assert CATALOG["health"].title in shown and CATALOG["drift"].title in shown
