"""Users made and removed, and who of them is an administrator."""

from __future__ import annotations

from typing import Any, Callable

from mlflow_provision.agent import release_program
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
        unheard = _delete(server, username, stopping)
        told.summary = "removed"
    return {"user": was, **forgotten(server, data, emit, stopping, unheard)}


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


def forgotten(
    server: Server, data: dict[str, Any], emit: Emit, stopping: Stopping, unheard: bool = False
) -> dict[str, Any]:
    """What one worker was told, all must know: by a restart where there are several, or where none has heard of it
    (`unheard`), unless it is not wanted."""
    needed = server.remembers_passwords or (unheard and server.caches)
    if not needed or not data.get("restart", True):
        return {"restarted": False, "lingers": needed}
    with step(emit, "restart", "restart, so that every worker knows"):
        restarted = server.restarted(stopping)
    return {"restarted": restarted, "lingers": False}


def _delete(server: Server, username: str, stopping: Stopping) -> bool:
    """Was it done without the server? MLflow before 3.13 cannot remove whoever has a permission, which everybody has
    who has made an experiment; its own tables can."""
    try:
        call(server.client, "DELETE", f"{USERS}/delete", f"remove {username}", {"username": username})
        return False
    except AgentError as error:
        if server.has_roles or "IntegrityError" not in error.message:
            raise
    request = {"username": username, "database": server.database, "user": server.owner}
    release_program.run(server.venv, server.admin["config"], _DELETE, request, stopping)
    return True


_DELETE = """
from mlflow.server.auth.db.models import Base, SqlUser
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
become(request["user"])
os.chdir(os.path.dirname(request["database"]))
store = SqlAlchemyStore()
store.init_db("sqlite:///" + request["database"])
with store.ManagedSessionMaker() as session:
    user = session.query(SqlUser).filter(SqlUser.username == request["username"]).one()
    number = user.id
    session.expunge(user)
    for table in reversed(Base.metadata.sorted_tables):
        if "user_id" in table.columns:
            session.execute(table.delete().where(table.columns.user_id == number))
    session.execute(SqlUser.__table__.delete().where(SqlUser.id == number))
"""


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
