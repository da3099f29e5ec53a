"""The administrator's password on the old server: the one that was given, or the one its configuration still holds."""

from __future__ import annotations

import sqlite3
from typing import Any

from mlflow_provision.agent.adoption import options
from mlflow_provision.agent.databases import contents
from mlflow_provision.agent.password_hash import matches


def administrator(old: dict[str, Any], given: str, live: bool) -> dict[str, str]:
    """`username`, the `password` that works ("" when none does; the one given comes first), and the `problem`, also
    when only the other one works. Without basic auth there is nobody."""
    database = old["auth"].get("database", "")
    if not old["auth"]["on"] or not database:
        return {"username": "", "password": "", "problem": ""}
    username = old["auth"]["admin_username"]
    rows = contents.looked_up(database, old["user"], live, _administrators)
    hashes: dict[str, str] = dict(rows)
    if username not in hashes and len(hashes) == 1:
        username = next(iter(hashes))  # somebody renamed the first one, or made another
    if username not in hashes:
        names = ", ".join(sorted(hashes)) or "nobody"
        return {"username": username, "password": "", "problem": f"{username} is no administrator there: {names} is"}
    configured = options.configured_password(old["auth"]["config"])
    working = next((one for one in (given, configured) if one and matches(hashes[username], one)), "")
    if given and working != given:
        problem = f"the password given is not the one of {username} on the old server"
    elif not working:
        why = "the one in its configuration was changed since" if configured else "its configuration does not hold it"
        problem = f"the password of {username} is not known: {why}"
    else:
        problem = ""
    return {"username": username, "password": working, "problem": problem}


def _administrators(connection: sqlite3.Connection) -> list[list[str]]:
    return [list(row) for row in connection.execute("SELECT username, password_hash FROM users WHERE is_admin")]
