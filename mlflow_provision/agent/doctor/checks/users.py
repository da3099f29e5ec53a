"""MLflow's users, as its database has them."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, field
from urllib.parse import quote

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.doctor.patient import Patient


@dataclass(frozen=True)
class User:
    """A user of the server."""

    name: str
    password_hash: str = field(repr=False)
    is_admin: bool = False


def listed(patient: Patient) -> list[User]:
    """Administrators first; [] when the database cannot be asked."""
    path = patient.databases["basic_auth.db"]

    def look() -> list[list[object]]:
        with contextlib.suppress(sqlite3.Error):
            uri = f"file:{quote(path)}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
                query = "SELECT username, password_hash, is_admin FROM users ORDER BY is_admin DESC, id"
                return [list(row) for row in connection.execute(query)]
        return []

    return [User(str(name), str(hashed), bool(admin)) for name, hashed, admin in as_user(patient.user, look)]
