"""The host knows who changed what, and that nobody changed that; destroy takes even this away, and all else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.operator import Operator, on
from tests.e2e.served import NAME, UNIT
from tests.e2e.traces import accounts, difference, files, units
from tests.e2e.waiting import AGENT, until
from tests.lab import LabHost

OLD = "3.12.0"
LOG = "/opt/mlflow/audit.jsonl"
BACKUPS = "/var/backups/audited"
EMPTY = " /etc/systemd/system/timers.target.wants "  # systemctl disable takes it away with the last timer in it
Blank = tuple[list[str], dict[str, str], list[str]]


@pytest.fixture(scope="module")
def blank(host: LabHost) -> Blank:
    """How the host was before anybody did anything on it."""
    host.ssh(["sudo", "true"])  # whatever a first login leaves is no matter of ours
    return files(host), accounts(host), units(host)


@pytest.fixture(scope="module")
def operator(host: LabHost, blank: Blank, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A server of an older MLflow, with everything that a timer does."""
    operator = Operator(tmp_path_factory.mktemp("operator"), host.ssh_config)
    operator.run(
        "setup", on(host), "--name", NAME, "--mlflow-version", OLD, "--backups", BACKUPS, "--save-only", "--defaults"
    )
    with operator.toml(NAME).open("a") as file:
        file.write('\n[gc]\nschedule = "weekly"\n')
    operator.run("setup", NAME, "--yes")
    yield operator


def test_who_did_what(host: LabHost, operator: Operator) -> None:
    """With what it changed, by whom it says it was and as whom the host saw them; looking is nothing."""
    operator.run("start", NAME)  # it runs
    for command in ("status", "plan", "logs"):
        operator.run(command, NAME)
    first, second = audited(operator)
    for change, what in ((first, "setup"), (second, "start")):
        assert (change["what"], change["outcome"], change["deployment"]) == (f"{what} {NAME}", "done", NAME)
        assert (change["login"], change["from"]) == (host.user, host.network.gateway)
        assert "@" in change["operator"] and change["seconds"] is not None
        assert change["at"].startswith("20") and change["at"].endswith("Z")
    assert first["at"] <= second["at"]
    assert any(f"{UNIT}-gc.timer" in line for line in first["changes"]) and second["changes"] == []
    assert operator.json("audit", NAME, "--since", "2020-01-01")["changes"] == [first, second]
    later = operator.json("audit", NAME, "--since", "1s")["changes"]
    assert first not in later
    shown = operator.run("audit", NAME).stdout
    assert shown.index(first["changes"][-1]) < shown.index(f"start {NAME}") and host.network.gateway in shown


def test_what_failed_and_what_was_cut_off(host: LabHost, operator: Operator) -> None:
    folder = f"/etc/systemd/system/{UNIT}.service.d"
    host.run(["mkdir", folder])
    host.run(["tee", f"{folder}/broken.conf"], input="[Service]\nExecStart=\nExecStart=false\n")
    host.run(["systemctl", "daemon-reload"])
    operator.refused("restart", NAME)
    failed = audited(operator)[-1]
    assert (failed["what"], failed["outcome"]) == (f"restart {NAME}", "failed") and failed["message"]
    host.run(["rm", "-r", folder])
    host.run(["systemctl", "daemon-reload"])

    before = len(entries(host))
    operator.edit(NAME, "port = 5000", "port = 5005")
    process = operator.start("setup", NAME, "--yes")
    until(lambda: len(entries(host)) > before, process=process)
    host.run(["pkill", "-9", "-f", AGENT])
    process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    cut = audited(operator)[-1]
    assert (cut["what"], cut["outcome"], cut["seconds"]) == (f"setup {NAME}", "cut off", None)
    operator.run("setup", NAME, "--yes")
    outcomes = [change["outcome"] for change in audited(operator)]
    assert outcomes == ["done", "done", "failed", "cut off", "done"]
    assert "was cut off" in operator.run("audit", NAME).stdout


def test_an_upgrade_is_noted(operator: Operator) -> None:
    operator.run("upgrade", NAME, "--yes")
    change = audited(operator)[-1]
    assert change["what"].startswith(f"upgrade {NAME}") and change["outcome"] == "done"


def test_a_log_that_somebody_changed(host: LabHost, operator: Operator) -> None:
    """Nobody changes it by mistake, root neither; and who does it on purpose is found out."""
    lines = host.run(["cat", LOG]).stdout.splitlines()
    assert host.run(["stat", "-c", "%U %a", LOG]).stdout.split() == ["root", "600"]
    assert host.run(["sh", "-c", f": > {LOG}"], check=False).returncode != 0
    assert host.run(["rm", "-f", LOG], check=False).returncode != 0
    changed = [line.replace("restart", "setup") for line in lines]
    assert changed != lines
    host.run(["chattr", "-a", LOG])
    for content in (changed, lines[:2] + lines[3:], lines[1:], [*lines[:3], "{}", *lines[3:]]):
        host.run(["tee", LOG], input="\n".join([*content, ""]))
        document = operator.json("audit", NAME, code=1)
        assert len(document["problems"]) >= 1 and document["changes"]
        assert document["problems"][0] in operator.run("audit", NAME, code=1).stdout
    host.run(["tee", LOG], input="\n".join([*lines, ""]))
    assert operator.json("audit", NAME)["problems"] == []
    host.run(["chattr", "+a", LOG])


def test_destroy_leaves_nothing(host: LabHost, blank: Blank, operator: Operator) -> None:
    """After an upgrade, and after every timer has done its work once."""
    for job in ("backup", "gc"):
        host.run(["systemctl", "start", f"{UNIT}-{job}.service"])
        assert host.run(["systemctl", "is-enabled", f"{UNIT}-{job}.timer"]).stdout.strip() == "enabled"
    operator.run("status")
    operator.run("destroy", NAME, "--delete-data", "--yes")
    before, known, had = blank
    left = [line for line in difference(before, files(host)) if not line.startswith("@@") and EMPTY not in line]
    assert [line for line in left if f" {BACKUPS}" not in line and not line.endswith(" /var/backups -> ")] == []
    assert any(line.endswith("/manifest.json -> ") for line in left)
    assert difference(had, units(host)) == []
    assert accounts(host) == known
    assert "mlflow" not in host.run(["ps", "axww"]).stdout
    assert host.run(["systemctl", "is-system-running"]).stdout.strip() == "running"
    assert list(operator.config.iterdir()) == []


def audited(operator: Operator) -> list[dict[str, Any]]:
    document = operator.json("audit", NAME)
    assert document["problems"] == []
    changes: list[dict[str, Any]] = document["changes"]
    return changes


def entries(host: LabHost) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.path(LOG).read_text().splitlines()]
