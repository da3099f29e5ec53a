"""One host without the cache that the others share: from nothing to a server, and back to nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.operator import Operator, on
from tests.lab import LabHost
from tests.lab.layers import NOISE

NAME = "server"
BACKUPS = "/var/backups/mlflow"
EMPTY = " /etc/systemd/system/timers.target.wants "  # systemctl disable takes it away with the last timer in it
ACCOUNTS = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid")


@pytest.fixture(scope="module")
def cold() -> Iterator[LabHost]:
    with LabHost(shared_cache=False) as host:
        host.ssh(["sudo", "true"])  # whatever a first login leaves is no matter of ours
        yield host


def test_from_nothing_to_a_server_and_back(cold: LabHost, tmp_path: Path) -> None:
    operator = Operator(tmp_path, cold.ssh_config)
    files, accounts, units = all_files(cold), account_files(cold), unit_files(cold)

    answer = operator.json("setup", on(cold), "--backups", BACKUPS, "--yes")
    assert {check["verdict"] for check in answer["verify"]} == {"ok"}
    print(f"blank to verified without a cache: {answer['seconds']:.0f} s")
    assert len(all_files(cold)) > len(files) + 10_000

    cold.run(["systemctl", "start", f"mlflow-{NAME}-backup.service"])

    operator.run("destroy", NAME, "--delete-data", "--yes")
    left = [line for line in difference(files, all_files(cold)) if not line.startswith("@@") and EMPTY not in line]
    assert [line for line in left if f" {BACKUPS}" not in line] == []
    assert any(line.endswith("/manifest.json -> ") for line in left)
    assert difference(units, unit_files(cold)) == []
    for path, text in account_files(cold).items():
        assert text == accounts[path], path
    assert cold.run(["systemctl", "is-system-running"]).stdout.strip() == "running"
    assert "mlflow" not in cold.run(["ps", "axww"]).stdout
    assert list(operator.config.iterdir()) == []

    assert operator.json("setup", on(cold), "--dry-run")["changes"] >= 15


def all_files(host: LabHost) -> list[str]:
    """Kind, mode, owner and path of all that is on the host's disk, without logs and temporary files."""
    pruned = [word for folder in NOISE for word in ("-path", folder, "-prune", "-o")]
    return sorted(host.run(["find", "/", "-xdev", *pruned, "-printf", "%y %m %U:%G %p -> %l\n"]).stdout.splitlines())


def account_files(host: LabHost) -> dict[str, str]:
    return {path: host.run(["cat", path]).stdout for path in ACCOUNTS}


def unit_files(host: LabHost) -> list[str]:
    return host.run(["systemctl", "list-unit-files", "--no-legend", "--no-pager"]).stdout.splitlines()


def difference(before: list[str], after: list[str]) -> list[str]:
    """Lines that came or went."""
    return [line for line in difflib.unified_diff(before, after, n=0, lineterm="") if line[:3] not in ("---", "+++")]
