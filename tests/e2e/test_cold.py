"""One host without the cache that the others share: from nothing to a server, and back to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.operator import Operator, on
from tests.e2e.traces import accounts, difference, files, units
from tests.lab import LabHost

NAME = "server"
BACKUPS = "/var/backups/mlflow"
EMPTY = " /etc/systemd/system/timers.target.wants "  # systemctl disable takes it away with the last timer in it


@pytest.fixture(scope="module")
def cold() -> Iterator[LabHost]:
    with LabHost(shared_cache=False) as host:
        host.ssh(["sudo", "true"])  # whatever a first login leaves is no matter of ours
        yield host


def test_from_nothing_to_a_server_and_back(cold: LabHost, tmp_path: Path) -> None:
    operator = Operator(tmp_path, cold.ssh_config)
    before, known, had = files(cold), accounts(cold), units(cold)

    answer = operator.json("setup", on(cold), "--backups", BACKUPS, "--yes")
    assert {check["verdict"] for check in answer["verify"]} == {"ok"}
    print(f"blank to verified without a cache: {answer['seconds']:.0f} s")
    assert len(files(cold)) > len(before) + 10_000

    cold.run(["systemctl", "start", f"mlflow-{NAME}-backup.service"])

    operator.run("destroy", NAME, "--delete-data", "--yes")
    left = [line for line in difference(before, files(cold)) if not line.startswith("@@") and EMPTY not in line]
    assert [line for line in left if f" {BACKUPS}" not in line] == []
    assert any(line.endswith("/manifest.json -> ") for line in left)
    assert difference(had, units(cold)) == []
    for path, text in accounts(cold).items():
        assert text == known[path], path
    assert cold.run(["systemctl", "is-system-running"]).stdout.strip() == "running"
    assert "mlflow" not in cold.run(["ps", "axww"]).stdout
    assert list(operator.config.iterdir()) == []

    assert operator.json("setup", on(cold), "--dry-run")["changes"] >= 15
