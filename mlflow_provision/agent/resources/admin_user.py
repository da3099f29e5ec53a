"""The first user of the server, and the first import of its release."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_provision.agent import command
from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Change, Context

# Runs with the release's Python. Imported first and as root, because only root may write the bytecode beside the
# modules: every later start of the server is then twice as fast. What touches the database runs as the service user.
_PROGRAM = """
import json, os, subprocess, sys, warnings
warnings.simplefilter("ignore")
request = json.load(sys.stdin)
os.environ["MLFLOW_AUTH_CONFIG_PATH"] = request["config"]
os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = "only for this import"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# A second core compiles what the first comes to later: a sixth of the time less.
second = subprocess.Popen([sys.executable, "-c", "import sqlalchemy.orm, alembic, pandas"], stderr=subprocess.DEVNULL)
import mlflow.server.auth
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
try:
    import mlflow.server.fastapi_app
except ImportError:
    pass
second.wait()
if request["user"] and os.geteuid() == 0:
    import pwd
    account = pwd.getpwnam(request["user"])
    os.initgroups(request["user"], account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    # The kernel forgets that we die with our parent when we become somebody else.
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() == 1:
        sys.exit("the agent is gone")
os.umask(0o077)
os.chdir(os.path.dirname(request["database"]))
# Half a schema cannot be migrated any further: a new database gets its name when it is complete.
final = request["database"]
database = final if os.path.exists(final) else final + ".new"
if database != final:
    for leftover in (database, database + "-journal"):
        if os.path.exists(leftover):
            os.unlink(leftover)
store = SqlAlchemyStore()
store.init_db("sqlite:///" + database)
if store.has_user(request["username"]):
    store.update_user(request["username"], password=request["password"], is_admin=True)
else:
    store.create_user(request["username"], request["password"], is_admin=True)
store.engine.dispose()
if database != final:
    os.replace(database, final)
"""


@dataclass(frozen=True)
class AdminUser:
    """An administrator in MLflow's own user database, made by MLflow's own store. The password travels over stdin and
    stays nowhere but in the database, hashed. With an empty `password` an existing administrator is left as it is."""

    id: str
    username: str
    password: str = field(repr=False)
    database: str
    release: str
    config: str
    owner: str = ""

    @property
    def title(self) -> str:
        return f"administrator {self.username}"

    def check(self, context: Context) -> Change | None:
        if not Path(self.database).exists():
            return Change("create")
        try:
            found = as_user(self.owner, self._find)
        except KeyError:  # in a plan only: an apply has made the user by now
            return Change(f"look again as user {self.owner}, who is missing")
        if found is None:
            return Change("create")
        password_hash, is_admin = found
        if not is_admin:
            return Change("make an administrator again")
        if self.password and not _matches(password_hash, self.password):
            return Change("set the password")
        return None

    def apply(self, context: Context) -> None:
        request = {
            "username": self.username,
            "password": self.password,
            "database": self.database,
            "config": self.config,
            "user": self.owner,
        }
        python = str(Path(self.release) / "bin" / "python")
        environment = {"HOME": self.release}
        command.run(
            [python, "-W", "ignore", "-c", _PROGRAM],
            stdin=json.dumps(request),
            env=environment,
            stopping=context.stopping,
        )

    def _find(self) -> tuple[str, bool] | None:
        query = "SELECT password_hash, is_admin FROM users WHERE username = ?"
        try:
            with contextlib.closing(sqlite3.connect(self.database, timeout=20)) as connection:
                row = connection.execute(query, (self.username,)).fetchone()
        except sqlite3.Error as error:
            if "no such table" in str(error):  # the schema is not there yet
                return None
            raise AgentError(f"{self.database}: {error}", "bring it back from a backup, or move it away") from None
        return (row[0], bool(row[1])) if row else None


def _matches(password_hash: str, password: str) -> bool:
    """Check a Werkzeug password hash, `scrypt:N:r:p$salt$hex` or `pbkdf2:digest:iterations$salt$hex`."""
    try:
        method, salt, expected = password_hash.split("$", 2)
        name, *parameters = method.split(":")
        if name == "scrypt":
            n, r, p = map(int, parameters)
            computed = hashlib.scrypt(password.encode(), salt=salt.encode(), n=n, r=r, p=p, maxmem=132 * n * r * p)
        else:
            computed = hashlib.pbkdf2_hmac(parameters[0], password.encode(), salt.encode(), int(parameters[1]))
    except (ValueError, IndexError):  # no hash that Werkzeug makes
        return False
    return hmac.compare_digest(computed.hex(), expected)
