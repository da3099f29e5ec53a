"""Doctor for a server in somebody's home on this machine, without root, SSH or systemd."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from mlflow_provision.host.hops import HOPS, PYTHON
from tests.e2e.at_home import at_home
from tests.e2e.doctored import examine, finds
from tests.e2e.operator import Operator

NAME = "mine"


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with at_home(tmp_path_factory.mktemp("person"), NAME) as operator:
        yield operator


def test_a_healthy_server(person: Operator) -> None:
    """There is no way to go, so none is told; the rest is looked at as on any host."""
    found = examine(person, name=NAME, code=0)
    assert found.bad == set() and found.warned <= {"backup-age", "disk"}  # this machine's disk is its owner's affair
    checks = {finding["check"]: finding["verdict"] for finding in found.findings}
    assert not set(HOPS[: HOPS.index(PYTHON)]) & set(checks)
    assert "unknown" not in checks.values()
    assert {checks[check] for check in ("python", "health", "login", "artifact-roundtrip", "drift")} == {"ok"}
    assert {checks[check] for check in ("clock-operator", "forwarding", "tunnel", "security-group")} == {"skipped"}
    person.run("backup", "now", NAME, "--to", str(person.home / "backups"))


@finds("service-running", "drift", "secrets-readable")
def test_what_went_wrong_at_home(person: Operator) -> None:
    """The machine was started again, which nobody does the server; a file was changed, another one opened to others."""
    running = person.json("status", NAME)["status"]
    os.kill(running["pid"], signal.SIGKILL)
    base = person.home / "mlflow" / NAME
    settings, secrets = base / "etc" / "server.env", base / "etc" / "secrets.env"
    settings.write_text(settings.read_text() + "MLFLOW_HTTP_REQUEST_TIMEOUT=7\n")
    secrets.chmod(0o644)
    found = examine(person, name=NAME)
    assert found.bad >= {"service-running", "drift", "secrets-readable"}
    assert found.verdict("health") == "skipped"

    found = examine(person, "--fix", "--yes", name=NAME, code=0)
    assert {found.verdict(check) for check in ("service-running", "drift", "secrets-readable", "login")} == {"ok"}
    assert secrets.stat().st_mode & 0o077 == 0
    assert person.json("status", NAME)["status"]["healthy"] is True
