"""Other passwords: through the API with a login that works, and without one for the administrator."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from mlflow_provision.agent.password_hash import matches
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.steps import step
from mlflow_provision.agent.users.accounts import Emit, Stopping, forgotten
from mlflow_provision.agent.users.api import USERS, call, logs_in, password_refused
from mlflow_provision.agent.users.listing import user
from mlflow_provision.agent.users.server import Server


def run_password(server: Server, data: dict[str, Any], emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """Another password for somebody: afterwards it lets them in, or all is as it was."""
    username, new = data["username"], data["password"]
    if username == server.username:
        return _own(server, new, data, emit, stopping)
    user(server, username)
    with step(emit, "password", f"password of {username}") as told:
        change = {"username": username, "password": new}
        call(server.client, "PATCH", f"{USERS}/update-password", f"change the password of {username}", change)
        told.summary = "changed"
    after = forgotten(server, data, emit, stopping)
    _prove(server, username, new, emit)
    return {"username": username, "changed": True, **after}


def _own(server: Server, new: str, data: dict[str, Any], emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """That of the administrator this deployment is run with. After a run that was killed it may be any of several."""
    candidates = [server.password, new, *data.get("others", ())]
    old = next((one for one in candidates if one and logs_in(server.login(server.username, one))), "")
    if not old:
        raise password_refused(server.username)
    server = replace(server, password=old)
    if old == new:
        return {"username": server.username, "changed": False, **forgotten(server, data, emit, stopping)}
    try:
        with step(emit, "password", f"password of {server.username}") as told:
            _change_own(server, old, new)
            told.summary = "changed"
        after = forgotten(server, data, emit, stopping)
        _prove(server, server.username, new, emit, "" if after["lingers"] else old)
    except BaseException as error:
        raise _with_the_old_one(server, old, new, error) from None
    return {"username": server.username, "changed": True, **after}


def run_reset(server: Server, data: dict[str, Any], emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """A new password for the administrator without the old one, with MLflow's own code on its database. A server that
    runs is restarted: it would go on taking the lost one for a while."""
    from mlflow_provision.agent.resources import Context, from_json

    with step(emit, "password", f"password of {server.username}") as told:
        admin: Any = from_json({**server.admin, "password": data["password"]})
        admin.apply(Context(stopping=stopping))
        told.summary = "set in the database"
    with step(emit, "restart", "restart") as told:
        restarted = server.restarted(stopping)
        told.summary = "" if restarted else "not needed: the server does not run"
    if restarted:
        _prove(server, server.username, data["password"], emit)
    elif not _in_database(server, data["password"]):
        raise AgentError("the new password did not reach the database", "run the same command again")
    return {"username": server.username, "changed": True, "restarted": restarted, "lingers": False}


def _change_own(server: Server, current: str, wanted: str) -> None:
    change = {"username": server.username, "password": wanted, "current_password": current}
    client = server.login(server.username, current)
    what = f"change the password of {server.username}"
    call(client, "PATCH", f"{USERS}/update-password", what, change)


def _prove(server: Server, username: str, new: str, emit: Emit, old: str = "") -> None:
    with step(emit, "login", f"login of {username}") as told:
        if not logs_in(server.login(username, new)):
            raise AgentError(f"the server does not let {username} in with the new password")
        if old and logs_in(server.login(username, old)):
            raise AgentError(f"the server still lets {username} in with the old password")
        told.verdict = "ok"
        told.summary = "works with the new password" + (", not with the old one" if old else "")


def _with_the_old_one(server: Server, old: str, new: str, error: BaseException) -> BaseException:
    """The error to tell, after the old password was put back where the new one had been set."""
    if not isinstance(error, (AgentError, OSError)):
        return error
    message = error.message if isinstance(error, AgentError) else str(error)
    hint = error.hint if isinstance(error, AgentError) else ""
    kind = error.kind if isinstance(error, AgentError) else "failed"
    try:
        _all_forget(server)  # what a worker remembers proves nothing
        if logs_in(server.login(server.username, new)) and not logs_in(server.client):
            _change_own(server, new, old)
            _all_forget(server)
        works = logs_in(server.client)
    except (AgentError, OSError):
        works = False
    if works:
        return AgentError(f"{message}\nThe old password works as before.", hint, kind)
    with contextlib.suppress(AgentError):
        if _in_database(server, old):
            return AgentError(f"{message}\nThe old password is still the one in the database.", hint, kind)
    return AgentError(
        f"{message}\nWhich password the server has now is not sure.",
        f"set a new one: mlflow-provision user password {server.username} NAME --reset",
        "unsure",
    )


def _all_forget(server: Server) -> None:
    """It ran when this began. A restart that was stopped half-way, or died, shows nothing of that."""
    if server.remembers_passwords:
        server.restart(lambda: False)


def _in_database(server: Server, password: str) -> bool:
    """Is it the administrator's, as the database says?"""
    import sqlite3

    from mlflow_provision.agent.as_user import as_user

    def stored() -> str:
        query = "SELECT password_hash FROM users WHERE username = ?"
        with contextlib.closing(sqlite3.connect(server.database, timeout=20)) as connection:
            row = connection.execute(query, (server.username,)).fetchone()
        return str(row[0]) if row else ""

    try:
        return matches(as_user(server.owner, stored), password)
    except sqlite3.Error as error:
        raise AgentError(f"{server.database}: {error}") from None
