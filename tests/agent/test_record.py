"""deployment.json: written last, and again whenever something before it changed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mlflow_provision.agent.resources.record import Record, load
from tests.agent.converge import found, mend

FACTS = {"name": "server", "mlflow_version": "3.17.2", "hashes": {"/etc/x": "abc"}, "port": 5000}


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record("record", str(tmp_path / "deployment.json"), FACTS, "ada@laptop")


def test_it_says_what_when_and_by_whom(record: Record) -> None:
    assert mend(record) == "create"
    written = json.loads(Path(record.path).read_text())
    assert {name: written[name] for name in FACTS} == FACTS
    assert written["operator"] == "ada@laptop"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", written["applied_at"])


def test_who_runs_it_again_is_no_change(record: Record) -> None:
    mend(record)
    assert found(Record("record", record.path, FACTS, "grace@desktop")) == ""


def test_it_is_written_anew_when_something_before_it_changed(record: Record) -> None:
    mend(record)
    assert found(record, "server.env") == "update"


@pytest.mark.parametrize("facts", [{"port": 6000}, {"hashes": {"/etc/x": "abd"}}, {"new": ""}])
def test_it_is_written_anew_when_it_says_something_else(record: Record, facts: dict[str, object]) -> None:
    mend(record)
    assert mend(Record("record", record.path, {**FACTS, **facts}, "ada@laptop")) == "update"


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "\x00\xff"])
def test_one_that_cannot_be_read_is_none(record: Record, content: str) -> None:
    Path(record.path).write_text(content)
    assert load(record.path) is None
    assert mend(record) == "create"


def test_a_folder_in_its_place_is_none(tmp_path: Path) -> None:
    assert load(str(tmp_path)) is None
    assert load(str(tmp_path / "missing")) is None
