"""A database of an older MLflow, brought up by a real one. MLFLOW_PROVISION_TEST_VENV names its virtual environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mlflow_provision.agent import migration
from mlflow_provision.agent.backup import database
from mlflow_provision.agent.restore.schema import known, outdated
from mlflow_provision.agent.restore.wanted import TRACKING, USERS

VENV = os.environ.get("MLFLOW_PROVISION_TEST_VENV", "")
pytestmark = pytest.mark.skipif(not VENV, reason="MLFLOW_PROVISION_TEST_VENV names no virtual environment")

_OLDER = """
import sys
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import InitialBase, _get_alembic_config
from sqlalchemy import create_engine
url = "sqlite:///" + sys.argv[1]
InitialBase.metadata.create_all(create_engine(url))
config = _get_alembic_config(url)
scripts = ScriptDirectory.from_config(config)
command.upgrade(config, scripts.get_revision(scripts.get_current_head()).down_revision)
"""


def test_an_older_database_is_seen_and_brought_up(tmp_path: Path) -> None:
    tracking, users = tmp_path / TRACKING, tmp_path / USERS
    subprocess.run([f"{VENV}/bin/python", "-W", "ignore", "-c", _OLDER, str(tracking)], check=True, capture_output=True)
    config = tmp_path / "basic_auth.ini"
    config.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{users}\nadmin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    assert len(known(VENV, TRACKING)[1]) == len(known(VENV, USERS)[1]) == 1
    assert outdated(VENV, {TRACKING: schema(tracking)}) == [TRACKING]
    migration.migrate(VENV, str(config), "", str(tracking), str(users))
    assert outdated(VENV, {TRACKING: schema(tracking), USERS: schema(users)}) == []
    assert known(VENV, TRACKING)[1] == {schema(tracking)}


def schema(path: Path) -> str:
    return database.content(str(path), database.THOROUGH, lambda: False).schema
