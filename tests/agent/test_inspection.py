"""Which schema a database has."""

from __future__ import annotations

import sqlite3

import pytest

from mlflow_provision.agent.databases.inspection import schema

TRACKING, USERS = "alembic_version", "alembic_version_auth"


@pytest.mark.parametrize(
    ("notes", "revision"),
    [
        ({}, ""),
        ({TRACKING: "aaa"}, "aaa"),
        ({USERS: "ccc"}, "ccc"),
        ({TRACKING: "of MLflow 2", USERS: "ccc"}, "ccc"),  # what a migration leaves of the users of an old server
        ({TRACKING: "of MLflow 2", USERS: None}, "of MLflow 2"),
    ],
)
def test_the_revision_that_counts(notes: dict[str, str | None], revision: str) -> None:
    connection = sqlite3.connect(":memory:")
    for table, value in notes.items():
        connection.execute(f"CREATE TABLE {table} (version_num TEXT)")
        if value:
            connection.execute(f"INSERT INTO {table} VALUES (?)", (value,))
    assert schema(connection) == revision
    connection.close()
