"""The first user of the server, its databases, and the first import of its release."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_provision.agent import release_program
from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.password_hash import matches
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Change, Context

# Imported first and as root, because only root may write the bytecode beside the modules: every later start of the
# server is then twice as fast. What touches the database runs as the service user.
_FIRST_IMPORT = f"""
import subprocess
# A second core compiles what the first comes to later: a sixth of the time less.
second = subprocess.Popen([sys.executable, "-c", "import sqlalchemy.orm, alembic, pandas"], stderr=subprocess.DEVNULL)
import mlflow.server.auth
{release_program.SERVER_IMPORT}
second.wait()
"""
_PROGRAM = """
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
become(request["user"])
os.chdir(os.path.dirname(request["database"]))
# Half a schema cannot be migrated any further: a new database gets its name when it is complete.
def made(final, build):
    new = final + ".new"
    for leftover in (new, new + "-journal"):
        if os.path.exists(leftover):
            os.unlink(leftover)
    build(new)
    os.replace(new, final)
def make_tracking(path):
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine
    engine = create_engine("sqlite:///" + path)
    _initialize_tables(engine)
    engine.dispose()
def make_user(path):
    store = SqlAlchemyStore()
    store.init_db("sqlite:///" + path)
    if store.has_user(request["username"]):
        store.update_user(request["username"], password=request["password"], is_admin=True)
    else:
        store.create_user(request["username"], request["password"], is_admin=True)
    store.engine.dispose()
if request["tracking"]:
    made(request["tracking"], make_tracking)
if os.path.exists(request["database"]):
    make_user(request["database"])
else:
    made(request["database"], make_user)
"""


@dataclass(frozen=True)
class AdminUser:
    """An administrator in MLflow's own user database, made by MLflow's own store. The password travels over stdin and
    stays nowhere but in the database, hashed. With an empty `password` an existing administrator is left as it is.

    The same process makes the tracking database, where there is none: a server stopped in the middle of making it
    itself could never start again.
    """

    id: str
    username: str
    password: str = field(repr=False)
    database: str
    release: str
    config: str
    owner: str = ""
    tracking: str = ""

    @property
    def title(self) -> str:
        return f"administrator {self.username}"

    def check(self, context: Context) -> Change | None:
        if not Path(self.database).exists():
            return Change("create")
        try:
            found, untracked = as_user(self.owner, lambda: (self._find(), self._untracked()))
        except KeyError:  # in a plan only: an apply has made the user by now
            return Change(f"look again as user {self.owner}, who is missing")
        if untracked:
            return Change("create the tracking database")
        if found is None:
            return Change("create")
        password_hash, is_admin = found
        if not is_admin:
            return Change("make an administrator again")
        if self.password and not matches(password_hash, self.password):
            return Change("set the password")
        return None

    def apply(self, context: Context) -> None:
        request = {
            "username": self.username,
            "password": self.password,
            "database": self.database,
            "user": self.owner,
            "tracking": self.tracking if as_user(self.owner, self._untracked) else "",
        }
        program = _PROGRAM if release_program.imported(self.release) else _FIRST_IMPORT + _PROGRAM
        release_program.run(self.release, self.config, program, request, context.stopping)

    def _find(self) -> tuple[str, bool] | None:
        query = "SELECT password_hash, is_admin FROM users WHERE username = ?"
        try:
            with contextlib.closing(sqlite3.connect(self.database, timeout=20)) as connection:
                row = connection.execute(query, (self.username,)).fetchone()
        except sqlite3.Error as error:
            if "no such table" in str(error):  # the schema is not there yet
                return None
            raise AgentError(f"{self.database}: {error}", self._way_out(self.database)) from None
        return (row[0], bool(row[1])) if row else None

    def _untracked(self) -> bool:
        """Is there no tracking database yet, or an empty one?"""
        path = Path(self.tracking)
        if not self.tracking or not path.exists() or path.stat().st_size == 0:
            return bool(self.tracking)
        try:
            with contextlib.closing(sqlite3.connect(self.tracking, timeout=20)) as connection:
                return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
        except sqlite3.Error as error:
            raise AgentError(f"{self.tracking}: {error}", self._way_out(self.tracking)) from None

    def _way_out(self, database: str) -> str:
        """For who could not open a database, asked as that user."""
        if not os.access(database, os.R_OK | os.W_OK):
            return f"give it back to the server: sudo chown {self.owner or '$USER'}: {database}*"
        return "bring it back from a backup, or move it away"
