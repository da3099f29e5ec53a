"""What a database holds, and whether it is whole."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import Callable, TypeVar
from urllib.parse import quote

from mlflow_provision.agent.backup.aside import aside
from mlflow_provision.agent.protocol import AgentError

QUICK = "quick_check"
THOROUGH = "integrity_check"
_PROBLEMS = 5  # told at most
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Content:
    """`schema`: the revision as Alembic notes it, "" when it does not. `rows`: table → how many."""

    schema: str
    rows: dict[str, int]


def opened(
    path: str, options: str, work: Callable[[sqlite3.Connection], Answer], stopping: Callable[[], bool]
) -> Answer:
    """What `work` makes of a database that is opened with `options` of a URI: "mode=ro". Raises sqlite3.Error too."""
    connections: list[sqlite3.Connection] = []

    def action() -> Answer:
        # A short wait for locks: who asks again often gets between two writes of a busy server sooner.
        uri = f"file:{quote(path)}?{options}"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None)) as connection:
            connections.append(connection)
            return work(connection)

    def interrupt() -> None:
        with contextlib.suppress(sqlite3.Error):
            for connection in connections:
                connection.interrupt()

    return aside(action, stopping, interrupt)


def content(path: str, check: str, stopping: Callable[[], bool]) -> Content:
    """What is in a database that nobody writes to. Raises AgentError of kind "damaged" with what `check`, a PRAGMA,
    says against it."""

    def look(connection: sqlite3.Connection) -> Content:
        said = [str(row[0]) for row in connection.execute(f"PRAGMA {check}({_PROBLEMS})")]
        if said != ["ok"]:
            raise AgentError("; ".join(said), kind="damaged")
        return Content(schema(connection), rows(connection))

    try:
        # Immutable: nothing is locked, and nothing appears beside it.
        return opened(path, "mode=ro&immutable=1", look, stopping)
    except sqlite3.Error as error:
        raise AgentError(str(error), kind="damaged") from None


def rows(connection: sqlite3.Connection) -> dict[str, int]:
    """How many rows each table has; virtual ones have none of their own."""
    return {
        name: connection.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone()[0]  # noqa: S608 - quoted
        for name in tables(connection)
    }


def schema(connection: sqlite3.Connection) -> str:
    """The revision, as Alembic notes it. MLflow's database of users has its note in a table with a longer name; where
    MLflow 2 made it, the short one is still there, and says what was then."""
    notes = [name for name in tables(connection) if name.startswith("alembic_version")]
    of_users = [name for name in notes if name != "alembic_version"]
    for names in filter(None, (of_users, notes)):
        found = [row[0] for name in names for row in connection.execute(f"SELECT version_num FROM {quoted(name)}")]  # noqa: S608
        if found:
            return ",".join(sorted(map(str, found)))
    return ""


def tables(connection: sqlite3.Connection) -> list[str]:
    """The tables that people have made."""
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
        "AND sql NOT LIKE 'CREATE VIRTUAL %' ORDER BY name"
    )
    return [row[0] for row in connection.execute(query)]


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
