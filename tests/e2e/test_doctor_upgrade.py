"""A server that is behind, an upgrade that nobody finished, and databases of another release."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from mlflow_provision.config.deployment import DEFAULT_MLFLOW_VERSION
from tests.e2e.backed_up import BASE
from tests.e2e.doctored import examine, finds
from tests.e2e.operator import Operator, on
from tests.e2e.served import NAME, UNIT, Served
from tests.e2e.test_doctor_backups import in_the_middle
from tests.e2e.waiting import AGENT
from tests.lab import LabHost

OLD = "3.12.0"
DATABASE = f"{BASE}/data/mlflow.db"
DOWN = {"service-running", "service-looping", "health", "server-errors"}  # a server that does not start


@pytest.fixture(scope="module")
def elder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of an MLflow that is some months old."""
    with LabHost() as host:
        operator = Operator(tmp_path_factory.mktemp("home"), host.ssh_config)
        operator.run("setup", on(host), "--name", NAME, "--yes", "--mlflow-version", OLD)
        yield Served(host, operator)


@finds("mlflow-old")
def test_an_old_mlflow(elder: Served) -> None:
    found = examine(elder.operator, code=0)
    assert (found.bad, found.warned) == (set(), {"mlflow-old", "backup-age"})
    assert OLD in found.of("mlflow-old")["evidence"]
    assert f"mlflow-provision upgrade {NAME}" in found.of("mlflow-old")["remedy"]


@finds("upgrade-unfinished")
def test_an_upgrade_at_work_and_one_that_was_killed(elder: Served) -> None:
    """With its watchdog, as when the power goes."""
    elder.host.run(["cp", "-a", DATABASE, "/root/older.db"])
    command = ("upgrade", NAME, "--yes")
    with in_the_middle(elder, *command, journal=f"{BASE}/backup/upgrading") as process:
        found = examine(elder.operator)
        assert found.verdict("upgrade-unfinished") == "skipped"
        assert found.bad <= DOWN, found.amiss  # what it has put aside so far is open to nobody
        for word in ("upgrade", DEFAULT_MLFLOW_VERSION):  # what is going on; and who
            assert word in found.of("upgrade-unfinished")["evidence"]
        elder.host.run(["pkill", "-9", "-f", AGENT])
    process.communicate(timeout=60)
    found = examine(elder.operator)
    assert "upgrade-unfinished" in found.bad
    assert found.bad <= {"upgrade-unfinished", "drift", *DOWN}
    assert DEFAULT_MLFLOW_VERSION in found.of("upgrade-unfinished")["evidence"]
    assert f"mlflow-provision rollback {NAME}" in found.of("upgrade-unfinished")["remedy"]
    elder.operator.run("rollback", NAME, "--yes")
    found = examine(elder.operator, code=0)
    assert (found.bad, found.warned) == (set(), {"mlflow-old", "backup-age"})


@finds("database-schema")
def test_a_database_of_another_release(elder: Served) -> None:
    elder.operator.run("upgrade", NAME, "--yes")
    assert examine(elder.operator, code=0).warned <= {"backup-age"}
    elder.operator.run("stop", NAME)
    elder.host.run(["cp", "-a", DATABASE, "/root/current.db"])
    elder.host.run(["cp", "-a", "/root/older.db", DATABASE])
    found = examine(elder.operator)
    assert found.bad == {"database-schema", "service-running"}, found.amiss
    assert "older" in found.of("database-schema")["evidence"]

    elder.host.run(["cp", "-a", "/root/current.db", DATABASE])
    elder.operator.run("start", NAME)
    assert examine(elder.operator).bad <= {"server-errors"}
    with closing(sqlite3.connect(elder.host.path(DATABASE))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'f00dfeed2027'")
        connection.commit()
    elder.host.run(["sh", "-c", f"chown {UNIT}: {DATABASE}*"])
    found = examine(elder.operator)
    assert "database-schema" in found.bad
    assert found.bad <= {"database-schema", "server-errors"}, found.amiss
    assert "f00dfeed2027" in found.of("database-schema")["evidence"]
    assert f"upgrade {NAME} --to" in found.of("database-schema")["remedy"]
