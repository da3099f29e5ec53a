"""What is done with the copied databases by the new release itself, and with what they were encrypted with."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_provision.agent import command
from mlflow_provision.agent.adoption import databases
from mlflow_provision.agent.resources.file import read, replace

if TYPE_CHECKING:
    from mlflow_provision.agent.resources.adopted_data import AdoptedData
    from mlflow_provision.agent.resources.base import Context

_KEK = "MLFLOW_CRYPTO_KEK_PASSPHRASE"
_PUBLIC_KEK = "mlflow-default-kek-passphrase-for-development-only"  # MLflow's own, where none is set

# Runs with the release's Python. Only root may write the bytecode beside the modules: with it the migration, and the
# first start of ours, take half the time, during which there is no server.
_IMPORT = """
import warnings
warnings.simplefilter("ignore")
import sqlalchemy.orm, alembic.command, mlflow.store.db.utils, mlflow.server.auth.sqlalchemy_store
try:
    import mlflow.server.fastapi_app
except ImportError:
    pass
"""

# Runs with the release's Python, as the service user: lock files and journals must be its own.
_MIGRATE = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
request = json.load(sys.stdin)
if request["user"] and os.geteuid() == 0:
    import ctypes, pwd
    account = pwd.getpwnam(request["user"])
    os.initgroups(request["user"], account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    # The kernel forgets that we die with our parent when we become somebody else.
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() == 1:
        sys.exit("the agent is gone")
os.umask(0o077)
os.chdir(os.path.dirname(request["tracking"]))
from sqlalchemy import create_engine
from mlflow.store.db.utils import _upgrade_db
engine = create_engine("sqlite:///" + request["tracking"])
_upgrade_db(engine)
engine.dispose()
if request["auth"]:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
    store = SqlAlchemyStore()
    store.init_db("sqlite:///" + request["auth"])
    store.engine.dispose()
"""


def prepare(data: AdoptedData, context: Context) -> None:
    """Import the new MLflow once while the old one still serves."""
    context.output("importing the new MLflow")
    _python(data, _IMPORT, "", context)


def migrate(data: AdoptedData, auth: bool, context: Context) -> None:
    """Bring the copies to the schema of the new release; `auth`: is there a database of users?"""
    context.output("migrating the copies")
    request = {
        "user": data.owner,
        "tracking": data.database,
        "auth": data.auth_database if auth else "",
    }
    _python(data, _MIGRATE, json.dumps(request), context)


def _python(data: AdoptedData, program: str, stdin: str, context: Context) -> None:
    environment = {
        "HOME": data.release,
        "MLFLOW_AUTH_CONFIG_PATH": data.config,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only for this import",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    argv = [f"{data.release}/bin/python", "-W", "ignore", "-c", program]
    command.run(argv, stdin=stdin, env=environment, stopping=context.stopping)


def keep_passphrase(data: AdoptedData, environment: dict[str, str]) -> None:
    """Gateway secrets in the database can be read with their old passphrase only."""
    with databases.reading(data.journal.path("mlflow.db")) as connection:
        if not databases.columns(connection, "secrets"):
            return
        if not connection.execute("SELECT count(*) FROM secrets").fetchone()[0]:
            return
    passphrase = environment.get(_KEK) or _PUBLIC_KEK
    old = read(data.secrets_env) or ""
    text = re.sub(rf"^{_KEK}=.*\n", "", old, flags=re.MULTILINE) + f"{_KEK}={shlex.quote(passphrase)}\n"
    file = Path(data.secrets_env)
    replace(data.secrets_env, text, file.stat().st_mode & 0o777, file.owner(), file.group())
