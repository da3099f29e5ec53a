"""Those who are kept out of something stay out of it when MLflow moves permissions to roles."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlflow_provision.agent.databases import denials

BEFORE_ROLES = "2ed73881770d"  # MLflow 3.10 to 3.12
WITH_ROLES = "0123456789ab"

OLD_USERS = f"""
CREATE TABLE alembic_version_auth (version_num TEXT);
INSERT INTO alembic_version_auth VALUES ('{BEFORE_ROLES}');
CREATE TABLE users (id INTEGER, username TEXT);
INSERT INTO users VALUES (1, 'ada'), (2, 'bob');
CREATE TABLE experiment_permissions (user_id INTEGER, experiment_id TEXT, permission TEXT);
INSERT INTO experiment_permissions VALUES (1, '7', 'NO_PERMISSIONS'), (1, '8', 'READ'), (2, '8', 'NO_PERMISSIONS');
CREATE TABLE registered_model_permissions (user_id INTEGER, name TEXT, permission TEXT);
INSERT INTO registered_model_permissions VALUES (2, 'a prompt', 'NO_PERMISSIONS'), (2, 'a model', 'NO_PERMISSIONS');
CREATE TABLE scorer_permissions (user_id INTEGER, experiment_id TEXT, scorer_name TEXT, permission TEXT);
INSERT INTO scorer_permissions VALUES (1, '7', 'is it/good', 'NO_PERMISSIONS');
"""
RUNS = """
CREATE TABLE registered_model_tags (name TEXT, key TEXT, value TEXT);
INSERT INTO registered_model_tags VALUES ('a prompt', 'mlflow.prompt.is_prompt', 'True'), ('a model', 'team', 'x');
"""
# What MLflow's own migration makes of the rest.
MOVED = f"""
UPDATE alembic_version_auth SET version_num = '{WITH_ROLES}';
CREATE TABLE role_permissions (resource_type TEXT, resource_pattern TEXT);
INSERT INTO role_permissions VALUES ('registered_model', 'a prompt'), ('registered_model', 'a model');
"""


class Store:
    def __init__(self) -> None:
        self.granted: list[tuple[str, ...]] = []

    def grant_user_permission(self, *what: str) -> None:
        self.granted.append(what)


def made(path: Path, *scripts: str) -> str:
    with closing(sqlite3.connect(path)) as connection:
        for script in scripts:
            connection.executescript(script)
    return str(path)


@pytest.fixture
def request_(tmp_path: Path) -> dict[str, str]:
    return {"auth": made(tmp_path / "users.db", OLD_USERS), "tracking": made(tmp_path / "runs.db", RUNS)}


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A release that has DENY and permissions on prompts, as 3.17 does."""
    permissions = ModuleType("mlflow.server.auth.permissions")
    permissions.DENY, permissions.RESOURCE_TYPE_PROMPT = object(), "prompt"  # type: ignore[attr-defined]
    auth = ModuleType("mlflow.server.auth")
    auth.permissions = permissions  # type: ignore[attr-defined]
    for name, module in (("mlflow", ModuleType("mlflow")), ("mlflow.server", ModuleType("mlflow.server"))):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "mlflow.server.auth", auth)
    monkeypatch.setitem(sys.modules, "mlflow.server.auth.permissions", permissions)
    return permissions


def migrated(request: dict[str, str], *moves: str) -> tuple[dict[str, Any], Store]:
    """What the programs know after a migration by MLflow, and what they granted."""
    store = Store()
    known: dict[str, Any] = {"request": request, "store": store, "sys": sys}
    exec(denials.NOTED, known)
    made(Path(request["auth"]), *moves)
    exec(denials.CARRIED_OVER, known)
    return known, store


def test_who_was_kept_out_still_is(request_: dict[str, str], mlflow: ModuleType) -> None:
    _, store = migrated(request_, MOVED)
    assert sorted(store.granted) == [
        ("ada", "experiment", "7", "DENY"),
        ("ada", "scorer", "7/is%20it%2Fgood", "DENY"),
        ("bob", "experiment", "8", "DENY"),
        ("bob", "prompt", "a prompt", "DENY"),
        ("bob", "registered_model", "a model", "DENY"),
    ]


def test_rights_on_prompts_are_on_prompts(request_: dict[str, str], mlflow: ModuleType) -> None:
    migrated(request_, MOVED)
    with closing(sqlite3.connect(request_["auth"])) as connection:
        rows = connection.execute("SELECT * FROM role_permissions").fetchall()
    assert sorted(rows) == [("prompt", "a prompt"), ("registered_model", "a model")]


def test_a_release_that_can_keep_nobody_out_is_refused(request_: dict[str, str], mlflow: ModuleType) -> None:
    del mlflow.DENY
    with pytest.raises(SystemExit, match="cannot keep ada, bob out of"):
        migrated(request_, MOVED)


def test_where_nothing_moves_nothing_is_done(request_: dict[str, str], mlflow: ModuleType) -> None:
    known, store = migrated(request_)  # to a release that is from before the roles too
    assert known["moving"] is True and store.granted == []
    made(Path(request_["auth"]), MOVED)
    known, store = migrated(request_)
    assert (known["moving"], known["kept_out"], store.granted) == (False, [], [])
