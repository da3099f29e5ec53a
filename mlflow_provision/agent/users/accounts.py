"""Users made and removed, and who of them is an administrator."""

from __future__ import annotations

from typing import Any, Callable

from mlflow_provision.agent.protocol import AgentError, Event
from mlflow_provision.agent.steps import step
from mlflow_provision.agent.users.api import EXISTS, USERS, call
from mlflow_provision.agent.users.listing import user, users
from mlflow_provision.agent.users.server import Server

Emit = Callable[[Event], None]
Stopping = Callable[[], bool]


def run_add(server: Server, data: dict[str, Any], emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """A new user; with `admin`, an administrator. Half a user is taken back."""
    username = data["username"]
    with step(emit, "user", f"user {username}") as told:
        account = {"username": username, "password": data["password"]}
        try:
            call(server.client, "POST", f"{USERS}/create", f"add {username}", account)
        except AgentError as error:
            raise _known_already(username) if error.kind == EXISTS else error from None
        if data["admin"]:
            try:
                _set_admin(server, username, True)
            except BaseException:
                call(server.client, "DELETE", f"{USERS}/delete", f"take {username} back", {"username": username})
                raise
        told.summary = "added as an administrator" if data["admin"] else "added"
    return {"user": user(server, username)}


def run_remove(server: Server, data: dict[str, Any], emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """The user is gone, and lets nobody in any more; what they made stays."""
    username = data["username"]
    _refuse_last_administrator(server, username, "removed")
    was = user(server, username)
    with step(emit, "user", f"user {username}") as told:
        call(server.client, "DELETE", f"{USERS}/delete", f"remove {username}", {"username": username})
        told.summary = "removed"
    return {"user": was, **forgotten(server, data, emit, stopping)}


def run_admin(server: Server, data: dict[str, Any], emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """Make somebody an administrator, or (`admin` false) an ordinary user."""
    username, wanted = data["username"], data["admin"]
    if not wanted:
        _refuse_last_administrator(server, username, "an ordinary user")
    was = user(server, username)
    if was["admin"] == wanted:
        return {"user": was, "changed": False, "restarted": False}
    with step(emit, "user", f"user {username}") as told:
        _set_admin(server, username, wanted)
        told.summary = "is an administrator now" if wanted else "is no administrator any more"
    after = forgotten(server, data, emit, stopping)
    return {"user": {**was, "admin": wanted}, "changed": True, **after}


def forgotten(server: Server, data: dict[str, Any], emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """What one worker was told, all must know: by a restart where there are several, unless it is not wanted."""
    needed = server.remembers_passwords
    if not needed or not data.get("restart", True):
        return {"restarted": False, "lingers": needed}
    with step(emit, "restart", "restart, so that every worker knows"):
        restarted = server.restarted(stopping)
    return {"restarted": restarted, "lingers": False}


def _set_admin(server: Server, username: str, admin: bool) -> None:
    what = f"make {username} an administrator" if admin else f"make {username} an ordinary user"
    call(server.client, "PATCH", f"{USERS}/update-admin", what, {"username": username, "is_admin": admin})


def _refuse_last_administrator(server: Server, username: str, what: str) -> None:
    """Somebody must be left who can let others in. MLflow itself would not mind."""
    others = [one["username"] for one in users(server) if one["admin"] and one["username"] != username]
    if username == server.username:
        raise AgentError(
            f"{username} is the administrator that this deployment is run with, and cannot be {what}",
            "first let it be run with another one: mlflow-provision setup NAME --admin-username OTHER",
        )
    if not others:
        raise AgentError(
            f"{username} is the only administrator, and cannot be {what}",
            "first make somebody else one: mlflow-provision user admin OTHER NAME",
        )


def _known_already(username: str) -> AgentError:
    return AgentError(
        f"there is a user {username} already",
        f"to set another password: mlflow-provision user password {username} NAME",
        EXISTS,
    )
