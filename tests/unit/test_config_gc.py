"""When what was deleted goes for good: what the deployment file may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.config import Deployment, Gc, load, save, validate
from mlflow_provision.config.rules.gc import age_problem, seconds
from mlflow_provision.errors import ProvisionError


def problems(**values: str) -> list[str]:
    return validate(Deployment("prod", "ubuntu@host", gc=Gc(**values)))


@pytest.mark.parametrize("schedule", ["daily", "weekly", "monthly", "off"])
def test_schedules(schedule: str) -> None:
    assert problems(schedule=schedule) == []


@pytest.mark.parametrize(
    ("text", "length"),
    [("30d", 30 * 86400), ("2w", 14 * 86400), ("12h", 43200), ("1d12h", 129600), ("90m", 5400), ("5s", 5), ("0d", 0)],
)
def test_lengths_of_time(text: str, length: float) -> None:
    assert age_problem(text) is None and seconds(text) == length


@pytest.mark.parametrize("text", ["", "30", "d", "30 d", "-1d", "1.5d", "30D", "1y", "9999999d", "999999w", "30d "])
def test_what_is_none(text: str) -> None:
    assert age_problem(text)
    assert [problem for problem in problems(older_than=text) if problem.startswith("gc.older_than: ")]


def test_what_it_says() -> None:
    (problem,) = problems(schedule="weekley")
    assert problem.startswith("gc.schedule: ") and "weekly" in problem
    (problem,) = problems(schedule="daily", older_than="0d")
    assert "gone before anybody notices" in problem
    assert problems(schedule="off", older_than="0d") == []


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "prod.toml"
    save(Deployment("prod", "ubuntu@host"), path)
    assert "gc" not in path.read_text(), "a new file says nothing of it"
    path.write_text(path.read_text() + '\n[gc]\nschedule = "monthly"  # ours\nolder_than = "90d"\n')
    deployment = load(path)
    assert deployment.gc == Gc("monthly", "90d") and deployment.gc.scheduled
    save(deployment, path)
    assert "# ours" in path.read_text()
    path.write_text(path.read_text().replace("older_than", "older-then"))
    with pytest.raises(ProvisionError, match="older"):
        load(path)


def test_a_name_that_is_the_unit_of_another() -> None:
    (problem,) = validate(Deployment("prod-gc", "ubuntu@host"))
    assert "mlflow-prod-gc is the unit that cleans up" in problem
