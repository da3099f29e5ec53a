"""A backup of what is there, before it is replaced."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.protocol import SKIPPED, AgentError, Result
from mlflow_provision.agent.restore import current
from mlflow_provision.agent.restore.prepare import Stopping
from mlflow_provision.agent.restore.wanted import SAFETY, Wanted
from mlflow_provision.agent.steps import Emit

_TITLE = "safety backup"


@dataclass(frozen=True)
class Safety:
    """`backup` is its id; "" when there is none, and `why` says why not."""

    backup: str = ""
    why: str = ""


def back_up(wanted: Wanted, restored: str, operator: str, emit: Emit, stopping: Stopping) -> Safety:
    """Back up the databases that are there. A server that nobody has used yet has nothing to lose; databases that
    cannot be backed up because they are damaged are kept as files, like all that are replaced."""
    if not wanted.safety:
        return _none("not wanted", emit)
    if not any(database["used"] for database in current.now(wanted).values()):
        return _none("nobody has used this server yet", emit)
    from mlflow_provision.agent.backup.make import make

    try:
        reason = SAFETY + restored
        made = as_user(wanted.owner, lambda: make(wanted.settings, reason, False, emit, stopping, operator), stopping)
    except AgentError as error:
        if error.kind in ("interrupted", "locked"):
            raise
        broken = current.damaged(wanted)
        if broken:
            return _none("what is there cannot be backed up, and is kept as it is: " + "; ".join(broken), emit)
        hint = f"{error.hint}; or restore without a safety backup: add --no-safety-backup".lstrip("; ")
        message = f"no safety backup can be made of what is there: {error.message}"
        raise AgentError(message, hint, error.kind) from None
    return Safety(made["backup"]["id"])


def _none(why: str, emit: Emit) -> Safety:
    emit(Result("safety", _TITLE, SKIPPED, 0.0, why))
    return Safety("", why)
