"""The keys of model providers that MLflow's AI gateway keeps: each locked with a key of its own, and that one with the
passphrase of the server."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import Any, Callable

from mlflow_provision.agent import release_program
from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.rotation.wanted import Wanted

PASSPHRASE = "MLFLOW_CRYPTO_KEK_PASSPHRASE"  # noqa: S105 - the name of a variable
VERSION = "MLFLOW_CRYPTO_KEK_VERSION"
_ANSWER = "MLFLOW-PROVISION "

# The same as `mlflow crypto rotate-kek`, which takes the new passphrase in argv, and which cannot be repeated when its
# end was not heard of: here a key that has the new lock already is left alone. The version stays: it only salts the
# lock, and one more setting to be kept in step with the database is one more that can be lost.
_PROGRAM = """
import sqlite3
from contextlib import closing
from mlflow.utils.crypto import KEKManager, _decrypt_secret, rotate_secret_encryption
become(request["user"])
os.chdir(os.path.dirname(request["database"]))
old, new = (KEKManager(passphrase=request[name], kek_version=request["version"]) for name in ("old", "new"))
def opened(row, manager, wrapped):
    try:
        return _decrypt_secret(row[2], wrapped, manager, row[0], row[1])
    except Exception:
        return None
locked = already = 0
unreadable = []
with closing(sqlite3.connect(request["database"], timeout=20, isolation_level=None)) as database:
    database.execute("BEGIN IMMEDIATE")
    query = "SELECT secret_id, secret_name, encrypted_value, wrapped_dek FROM secrets"
    for row in database.execute(query).fetchall():
        if opened(row, new, row[3]) is not None:
            already += 1
            continue
        content = opened(row, old, row[3])
        if content is None:
            unreadable.append(row[1])
            continue
        wrapped = rotate_secret_encryption(row[2], row[3], old, new).wrapped_dek
        if opened(row, new, wrapped) != content:
            database.execute("ROLLBACK")
            sys.exit("the key " + row[1] + " cannot be opened with the new passphrase")
        database.execute("UPDATE secrets SET wrapped_dek = ? WHERE secret_id = ?", (wrapped, row[0]))
        locked += 1
    database.execute("COMMIT")
print("MLFLOW-PROVISION " + json.dumps({"locked": locked, "already": already, "unreadable": unreadable}))
"""


def count(wanted: Wanted) -> int:
    """How many there are; MLflow before 3.7 has no place for them."""

    def counted() -> int:
        uri = f"file:{wanted.database}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=20)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'secrets'").fetchone():
                return 0
            return int(database.execute("SELECT count(*) FROM secrets").fetchone()[0])

    try:
        return int(as_user(wanted.owner, counted))
    except sqlite3.Error as error:
        raise AgentError(f"{wanted.database}: {error}") from None


def lock(wanted: Wanted, old: dict[str, str], new: dict[str, str], stopping: Callable[[], bool]) -> dict[str, Any]:
    """Lock all of them with the new passphrase, in one transaction; which of the two a key has does not matter.

    Answers `{"locked", "already", "unreadable"}`: how many, and the names of those that neither opens.
    """
    request = {
        "old": old.get(PASSPHRASE, ""),
        "new": new.get(PASSPHRASE, ""),
        "version": int(old.get(VERSION, "1")),
        "user": wanted.owner,
        "database": wanted.database,
    }
    lines = release_program.run(wanted.venv, wanted.config, _PROGRAM, request, stopping)
    for line in lines:
        if line.startswith(_ANSWER):
            answer: dict[str, Any] = json.loads(line[len(_ANSWER) :])
            return answer
    raise AgentError("MLflow did not say whether the gateway's keys were locked anew")
