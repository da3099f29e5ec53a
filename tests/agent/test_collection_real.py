"""The program that removes rows, with a real MLflow."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.collection import rows
from mlflow_provision.agent.collection.rows import Rows
from mlflow_provision.agent.protocol import AgentError
from tests.agent.collecting_site import Site

FILL = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from mlflow.entities import Metric, Param, RunTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
store = SqlAlchemyStore("sqlite:///" + sys.argv[1], "mlflow-artifacts:/")
made = {"experiments": [], "runs": [], "models": []}
for name in ("stays", "goes"):
    experiment = store.create_experiment(name)
    made["experiments"].append(experiment)
    for number in range(2):
        now = int(time.time() * 1000)
        run = store.create_run(experiment, "ada", now, [RunTag("a", "b")], f"run {number}").info.run_id
        metrics = [Metric("m", step, 1700000000000 + step, step) for step in range(900)]
        store.log_batch(run, metrics, [Param("p", "1")], [RunTag("t", "v")])
        made["runs"].append(run)
    made["models"].append(store.create_logged_model(experiment, "model", made["runs"][-1]).model_id)
store.delete_run(made["runs"][0])
store.delete_logged_model(made["models"][0])
store.delete_experiment(made["experiments"][1])
print(json.dumps(made))
"""
CHILDREN = ("metrics", "latest_metrics", "params", "tags")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, mlflow_venv: Path) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    argv = [f"{mlflow_venv}/bin/python", "-c", FILL, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    return path, json.loads(done.stdout.splitlines()[-1])


def column(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return [row[0] for row in database.execute(query)]


def test_what_was_deleted_goes_from_every_table(
    filled: tuple[Path, dict[str, Any]], mlflow_venv: Path, tmp_path: Path
) -> None:
    path, made = filled
    site = Site(tmp_path / "root")
    site.tracking.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(site.tracking, isolation_level=None)) as database:
        trace = ("tr-1", int(made["experiments"][1]), 1, 1, "OK")
        query = "INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, execution_time_ms, status) VALUES"
        database.execute(f"{query} (?, ?, ?, ?, ?)", trace)
        database.execute("INSERT INTO trace_tags (request_id, key, value) VALUES ('tr-1', 'a', 'b')")
    (site.base / "release").rename(site.base / "stand-in")
    (site.base / "release").symlink_to(mlflow_venv)
    answer = site.collect(days=0)
    assert {key: answer["removed"][key] for key in ("experiments", "runs", "models", "traces")} == {
        "experiments": 1,
        "runs": 3,
        "models": 2,
        "traces": 1,
    }
    assert answer["kept"] == []
    alive = made["runs"][1]
    assert column(site.tracking, "SELECT run_uuid FROM runs") == [alive]
    for table in CHILDREN:
        assert set(column(site.tracking, f"SELECT run_uuid FROM {table}")) == {alive}, table
    assert len(column(site.tracking, "SELECT key FROM metrics")) == 900
    for table in ("logged_models", "trace_info", "trace_tags"):
        assert column(site.tracking, f"SELECT * FROM {table}") == [], table
    assert made["experiments"][1] not in map(str, column(site.tracking, "SELECT experiment_id FROM experiments"))


def test_what_was_restored_is_left_alone(
    filled: tuple[Path, dict[str, Any]], mlflow_venv: Path, tmp_path: Path
) -> None:
    path, made = filled
    copy = tmp_path / "mlflow.db"
    copy.write_bytes(path.read_bytes())
    with Rows(str(mlflow_venv), str(copy), lambda: False) as program:
        assert program.remove("run", made["runs"][1]) == rows.RESTORED
        assert program.remove("experiment", made["experiments"][0]) == rows.RESTORED
        assert program.remove("experiment", made["experiments"][1]) == rows.USED, "its runs come first"
        assert program.remove("model", made["models"][1]) == rows.RESTORED
        assert program.remove("model", made["models"][1], made["experiments"][1]) == rows.DONE
        assert program.remove("run", "f" * 32) == rows.GONE
    assert len(column(copy, "SELECT run_uuid FROM runs")) == 4


def test_a_schema_of_another_release(filled: tuple[Path, dict[str, Any]], mlflow_venv: Path, tmp_path: Path) -> None:
    path, made = filled
    copy = tmp_path / "mlflow.db"
    copy.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(copy, isolation_level=None)) as database:
        database.execute("UPDATE alembic_version SET version_num = '728d730b5ebd'")
    with (
        pytest.raises(AgentError, match="schema is not the one of this MLflow"),
        Rows(str(mlflow_venv), str(copy), lambda: False) as program,
    ):
        program.remove("run", made["runs"][0])
