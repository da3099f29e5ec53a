"""Permissions of experiments that go for good.

SQLite gives the number of a removed experiment again: whoever could manage the old one could manage the new one too.
"""

from __future__ import annotations

import os

from mlflow_provision.agent.collection.trash import opened


def forget(users: str, experiment: int) -> None:
    """Take what was granted for an experiment out of the database of users."""
    if not os.path.isfile(users):
        return
    with opened(users) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        database.execute("BEGIN IMMEDIATE")
        for table in tables:
            columns = {row[1] for row in database.execute(f'PRAGMA table_info("{table}")')}
            if "experiment_id" in columns:  # one table a kind of permission, until MLflow 3.12
                database.execute(f'DELETE FROM "{table}" WHERE experiment_id = ?', (str(experiment),))  # noqa: S608
            if {"resource_type", "resource_pattern"} <= columns:
                database.execute(
                    f"DELETE FROM \"{table}\" WHERE (resource_type = 'experiment' AND resource_pattern = ?) "  # noqa: S608
                    "OR (resource_type = 'scorer' AND resource_pattern LIKE ?)",
                    (str(experiment), f"{experiment}/%"),
                )
        database.execute("COMMIT")
