"""What is done with the copied databases by the new release itself, and with what they were encrypted with."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_provision.agent import release_program
from mlflow_provision.agent.databases import contents, migration
from mlflow_provision.agent.resources.file import read, replace

if TYPE_CHECKING:
    from mlflow_provision.agent.resources.adopted_data import AdoptedData
    from mlflow_provision.agent.resources.base import Context

_KEK = "MLFLOW_CRYPTO_KEK_PASSPHRASE"
_PUBLIC_KEK = "mlflow-default-kek-passphrase-for-development-only"  # MLflow's own, where none is set


def prepare(data: AdoptedData, context: Context) -> None:
    """Import the new MLflow once while the old one still serves."""
    context.output("importing the new MLflow")
    release_program.first_import(data.release, data.config, context.stopping)


def migrate(data: AdoptedData, auth: bool, context: Context) -> None:
    """Bring the copies to the schema of the new release; `auth`: is there a database of users?"""
    context.output("migrating the copies")
    auth_database = data.auth_database if auth else ""
    migration.migrate(data.release, data.config, data.owner, data.database, auth_database, context.stopping)


def keep_passphrase(data: AdoptedData, environment: dict[str, str]) -> None:
    """Gateway secrets in the database can be read with their old passphrase only."""
    with contents.reading(data.journal.path("mlflow.db")) as connection:
        if not contents.columns(connection, "secrets"):
            return
        if not connection.execute("SELECT count(*) FROM secrets").fetchone()[0]:
            return
    passphrase = environment.get(_KEK) or _PUBLIC_KEK
    old = read(data.secrets_env) or ""
    text = re.sub(rf"^{_KEK}=.*\n", "", old, flags=re.MULTILINE) + f"{_KEK}={shlex.quote(passphrase)}\n"
    file = Path(data.secrets_env)
    replace(data.secrets_env, text, file.stat().st_mode & 0o777, file.owner(), file.group())
