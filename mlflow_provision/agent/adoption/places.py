"""Where artifacts are, and what their places are called once our server keeps them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import Any, List, Tuple

from mlflow_provision.agent.adoption.options import local_path
from mlflow_provision.agent.databases import contents

PROXIED = "mlflow-artifacts:/"
# (a folder of the old server, the folder below our artifacts that takes its place: "" for the top)
Moves = List[Tuple[str, str]]


def moves(connection: sqlite3.Connection, old: dict[str, Any]) -> Moves:
    """Every local folder that artifacts are in: the server's own first, then what single experiments, runs and models
    were given. What has no folder yet is among them too: our server could not write there."""
    folder = old["folder"]
    found: Moves = []
    for place in (old["served"], old["artifacts"]):
        if os.path.isabs(place) and (place, "") not in found:
            found.append((place, ""))
    tops = [source for source, _ in found]
    for uri, relative in _own_places(connection):
        path = local_path(uri, folder) if uri else ""
        if path and _new_name(path, found) is None:
            taken = any(os.path.exists(os.path.join(top, relative)) for top in tops)
            found.append((path, f"adopted/{relative}" if taken else relative))
    return found


def moves_of(old: dict[str, Any], live: bool) -> Moves:
    """The same of the old server's own database, `live` while it may be written."""
    found = contents.looked_up(old["database"], old["user"], live, lambda db: moves(db, old))
    return [(source, relative) for source, relative in found]  # they come as lists from another process


def _own_places(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Places that differ from row to row, wider ones first, and a name for each below ours."""
    wanted = (
        ("experiments", "artifact_location", ("experiment_id",), "{}"),
        ("runs", "artifact_uri", ("experiment_id", "run_uuid"), "{}/{}/artifacts"),
        ("logged_models", "artifact_location", ("experiment_id", "model_id"), "{}/models/{}/artifacts"),
    )
    found = []
    for table, column, names, pattern in wanted:
        there = contents.columns(connection, table)
        if {column, *names} <= set(there):
            query = f'SELECT "{column}", {", ".join(names)} FROM "{table}"'  # noqa: S608 - names of ours
            found += [(str(uri or ""), pattern.format(*values)) for uri, *values in connection.execute(query)]
    return found


def _new_name(path: str, known: Moves) -> str | None:
    """The path below our artifacts of something in one of these folders; the deepest one decides."""
    for source, relative in sorted(known, key=lambda move: -len(move[0])):
        if path == source or path.startswith(source.rstrip("/") + "/"):
            inside = path[len(source) :].strip("/")
            return "/".join(part for part in (relative, inside) if part)
    return None


def renamed(uri: str | None, known: Moves, folder: str) -> str | None:
    """The place of artifacts as our server calls it; anything that is not in a folder that moves stays as it is."""
    path = local_path(uri, folder) if uri and not uri.startswith(("models:", "runs:")) else ""
    new = _new_name(path, known) if path else None
    return uri if new is None else PROXIED + new


def rename_all(database: str, known: Moves, folder: str) -> int:
    """Write the new places into a copy of the database; returns how many rows changed."""
    changed = 0
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        connection.create_function("moved", 1, lambda uri: renamed(uri, known, folder))
        for table, names in contents.PLACES.items():
            there = contents.columns(connection, table)
            for name in names:
                if name in there:
                    statement = f'UPDATE "{table}" SET "{name}" = moved("{name}") WHERE "{name}" != moved("{name}")'  # noqa: S608
                    changed += connection.execute(statement).rowcount
        if contents.columns(connection, "trace_tags"):
            statement = "UPDATE trace_tags SET value = moved(value) WHERE key = ? AND value != moved(value)"
            changed += connection.execute(statement, (contents.TRACE_PLACE,)).rowcount
    return changed
