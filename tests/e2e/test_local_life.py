"""Years of a server in somebody's home on this machine, without systemd: every command that looks after one, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.http import Client
from mlflow_provision.config import DEFAULT_MLFLOW_VERSION as NEW
from tests.e2e import teamwork
from tests.e2e.at_home import at_home
from tests.e2e.operator import Operator

NAME, OLD = "mine", "3.12.0"
ALL = ("--older-than", "0d")


@dataclass
class Life:
    operator: Operator
    work: teamwork.Work

    def json(self, *arguments: str, code: int | None = 0) -> dict[str, Any]:
        """A command about that server."""
        return self.operator.json(*_about(arguments), code=code)

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json("status")["status"]
        return found

    @property
    def admin(self) -> Client:
        return teamwork.at_home(self.operator, NAME)

    def seen(self) -> dict[str, Any]:
        found = teamwork.seen(self.admin, self.work)
        del found["files"]["notes/größe & co.txt"]  # MLflow 3.12 answers 500 where a name is not ASCII; 3.17 does not
        return found

    def path(self, inside: str) -> Path:
        return self.operator.home / "mlflow" / inside


def _about(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The name comes after the command and the words of it, and before the options."""
    options = next((number for number, one in enumerate(arguments) if one.startswith("-")), len(arguments))
    return (*arguments[:options], NAME, *arguments[options:])


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    with at_home(tmp_path_factory.mktemp("home"), NAME, "--mlflow-version", OLD) as operator:
        yield Life(operator, teamwork.make(teamwork.at_home(operator, NAME)))
    assert not (operator.home / "mlflow").exists()


def test_it_is_looked_at(life: Life) -> None:
    found = life.status
    assert (found["scope"], found["healthy"], found["mlflow_version"]) == ("user", True, OLD)
    assert found["runs"] == len(life.work.runs) and found["newest_version"]
    assert any(
        "/mlflow/" in line["line"] or "GET" in line["line"] for line in life.json("logs", "--since", "1h")["lines"]
    )
    life.json("logs", "--errors", code=None)
    life.json("backup", "now", "--to", str(life.operator.home / "backups"))
    verdicts = {one["check"]: one["verdict"] for one in life.json("doctor")["findings"]}
    assert {"bad", "unknown"} & set(verdicts.values()) == set()


def test_it_stops_and_starts(life: Life) -> None:
    first = life.status["pid"]
    assert life.json("stop")["status"]["running"] is False
    assert life.json("start")["status"]["healthy"] is True
    assert life.json("restart")["status"]["pid"] not in (first, None)


def test_people_come_and_go(life: Life) -> None:
    added = life.json("user", "add", "ana")["user"]
    assert life.json("user", "permission", "ana", "--experiment", "größe & co", "--grant", "EDIT")["permission"]
    assert "password" in life.json("user", "password", "ana")["user"] != added["password"]
    life.json("user", "admin", "ana")
    users = {one["username"]: one["admin"] for one in life.json("user", "list")["users"]}
    assert users == {"admin": True, "ana": True, **dict.fromkeys(teamwork.USERS, False)}
    life.json("user", "remove", "ana", "--yes")
    assert "ana" not in {one["username"] for one in life.json("user", "list")["users"]}


def test_secrets_are_exchanged(life: Life) -> None:
    """Also the password that is lost."""
    path = life.operator.config / f"{NAME}.secrets.toml"
    first = path.read_text()
    life.json("rotate", "password")
    second = path.read_text()
    path.write_text(first)
    life.operator.refused("user", "list", NAME)
    life.json("user", "password", "admin", "--reset")
    assert len({first, second, path.read_text()}) == 3
    life.json("rotate", "secret", "--yes")
    assert teamwork.USERS.keys() <= {one["username"] for one in life.json("user", "list")["users"]}


def test_what_is_deleted_goes(life: Life) -> None:
    run = teamwork.create_run(life.admin, life.work.experiment, "mistake")
    path = teamwork.artifact(life.work.experiment, run, "a.txt")
    assert life.admin.call("PUT", path, body=b"12345").status == 200
    teamwork.post(life.admin, "runs/delete", run_id=run)
    assert list(life.path(".").rglob("a.txt"))
    before = life.seen()
    shown = life.json("gc", *ALL, "--dry-run")["gc"]["totals"]
    assert (shown["runs"], shown["files"], shown["bytes"]) == (1, 1, 5)
    assert life.json("gc", *ALL, "--yes")["gc"]["removed"]["runs"] == 1
    assert life.status["runs_deleted"] == 0
    assert life.seen() == before
    assert not list(life.path(".").rglob("a.txt"))


def test_it_is_upgraded_and_goes_back(life: Life) -> None:
    before = life.seen()
    life.json("upgrade", "--yes")
    assert life.status["mlflow_version"] == NEW and life.seen() == before
    life.json("rollback", "--yes")
    assert life.status["mlflow_version"] == OLD and life.seen() == before
    assert life.json("plan")["changes"] == 0
    life.json("upgrade", "--yes")
    assert life.seen() == before


def test_artifacts_move_to_a_larger_disk(life: Life) -> None:
    before = life.seen()
    moved = life.operator.home / "large-disk"
    life.json("move-artifacts", "--to", str(moved), "--yes")
    assert life.seen() == before
    assert len(list(moved.rglob("weights.bin"))) == 1
    assert life.json("plan")["changes"] == 0


def test_what_went_wrong_is_put_right(life: Life) -> None:
    secrets = life.path(f"{NAME}/etc/secrets.env")
    secrets.chmod(0o644)
    assert {one["check"] for one in life.json("doctor", code=1)["findings"] if one["verdict"] == "bad"} == {
        "secrets-readable",
        "drift",
    }
    life.json("doctor", "--fix", "--yes")
    assert secrets.stat().st_mode & 0o077 == 0


def test_all_of_it_was_noted(life: Life) -> None:
    """Everything that changes something, by whom, with its end; and who looks is not in it."""
    audit = life.json("audit")
    assert audit["problems"] == []
    noted = [one["what"] for one in audit["changes"]]
    for command in ("setup", "backup", "stop", "start", "restart", "user add", "rotate password", "rotate secret"):
        assert any(what.startswith(command) for what in noted), command
    for command in ("user password admin --reset", "gc", "move-artifacts", "upgrade", "rollback", "doctor"):
        assert any(what.startswith(command) for what in noted), command
    assert not [what for what in noted if what.startswith(("status", "logs", "plan", "audit"))]
    assert {one["outcome"] for one in audit["changes"]} == {"done"}
