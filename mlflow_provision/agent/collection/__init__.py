"""What was deleted on a server goes for good: rows and artifacts. All of it is done as the service user."""

from __future__ import annotations

import os
import pwd
from typing import Any, Callable

from mlflow_provision.agent.protocol import CHANGED, Event, Result


def serve(
    data: dict[str, Any], operator: str, emit: Callable[[Event], None], stopping: Callable[[], bool]
) -> dict[str, Any]:
    """Do what `data["action"]` says: "look" tells what may go, "collect" removes it. Raises AgentError."""
    # All modules that are needed, before the rights to read our program are given up.
    from mlflow_provision.agent.as_user import as_user
    from mlflow_provision.agent.collection.collect import act
    from mlflow_provision.agent.collection.places import bucket, folder  # noqa: F401
    from mlflow_provision.agent.collection.settings import settings

    wanted = settings(data)
    if data["action"] == "collect":
        _make_state(wanted.state, wanted.user)
    answer: dict[str, Any] = as_user(wanted.user, lambda: act(wanted, data, operator, emit, stopping), stopping)
    if any(answer.get("removed", {}).values()):
        # Here and not where it was done: the host's log hears only what is told by its own process.
        emit(Result("removed", f"Removed from {wanted.deployment}", CHANGED, 0.0, answer["summary"]))
    return answer


def _make_state(path: str, user: str) -> None:
    """The service user's folder for lock and notes, where no setup of ours has made it yet."""
    if os.path.isdir(path):
        return
    os.mkdir(path, 0o700)
    if user and os.geteuid() == 0:
        account = pwd.getpwnam(user)
        os.chown(path, account.pw_uid, account.pw_gid)
