"""What MLflow's own migration of users drops or cannot see, carried over: programs for the Python of a release.

MLflow 3.13 moves permissions to roles. It drops those that keep a user out (NO_PERMISSIONS): afterwards that user may
do what everybody may. And it tells prompts from models only where users and runs share one database. MLflow 3.17 can
keep a user out again (DENY).
"""

from __future__ import annotations

# Before the migration: `kept_out`, and `moving`, whether permissions are still where they were before the move.
NOTED = """
import sqlite3
from contextlib import closing
from urllib.parse import quote
def asked(path, sql, *values):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()
def tables(path):
    return {name for (name,) in asked(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}
def unmoved(path):
    old = ("8606fa83a998", "0965eb92f5f0", "a1b2c3d4e5f6", "2ed73881770d", "c3d4e5f6a7b8")
    noted = [table for table in ("alembic_version_auth", "alembic_version") if table in tables(path)]
    return bool(noted) and any(found in old for (found,) in asked(path, f"SELECT version_num FROM {noted[0]}"))
def denials(path):
    found = []
    for table, kind, columns in (
        ("experiment_permissions", "experiment", "experiment_id, ''"),
        ("registered_model_permissions", "registered_model", "name, ''"),
        ("scorer_permissions", "scorer", "experiment_id, scorer_name"),
        ("gateway_secret_permissions", "gateway_secret", "secret_id, ''"),
        ("gateway_endpoint_permissions", "gateway_endpoint", "endpoint_id, ''"),
        ("gateway_model_definition_permissions", "gateway_model_definition", "model_definition_id, ''"),
    ):
        if table in tables(path):
            sql = f"SELECT username, {columns} FROM {table} p JOIN users u ON u.id = p.user_id WHERE permission = ?"
            for username, id, part in asked(path, sql, "NO_PERMISSIONS"):
                found.append((username, kind, f"{id}/{quote(part, safe='')}" if kind == "scorer" else str(id)))
    return found
moving = bool(request["auth"]) and unmoved(request["auth"])
kept_out = denials(request["auth"]) if moving else []
"""

# After it, while `store` has the users open.
CARRIED_OVER = """
if moving and not unmoved(request["auth"]):
    from mlflow.server.auth import permissions
    sql = "SELECT name FROM registered_model_tags WHERE key = 'mlflow.prompt.is_prompt' AND lower(value) = 'true'"
    prompts = {name for (name,) in asked(request["tracking"], sql)}
    if not hasattr(permissions, "RESOURCE_TYPE_PROMPT"):
        prompts = set()
    with closing(sqlite3.connect(request["auth"])) as connection, connection:
        for name in prompts:
            sql = "UPDATE role_permissions SET resource_type = 'prompt' WHERE resource_type = 'registered_model' "
            connection.execute(sql + "AND resource_pattern = ?", (name,))
    if kept_out and not hasattr(permissions, "DENY"):
        who = ", ".join(sorted({username for username, _, _ in kept_out}))
        sys.exit(f"this MLflow cannot keep {who} out of what they are kept out of (NO_PERMISSIONS); a newer one can")
    for username, kind, id in kept_out:
        kind = "prompt" if kind == "registered_model" and id in prompts else kind
        store.grant_user_permission(username, kind, id, "DENY")
"""
