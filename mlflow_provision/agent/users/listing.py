"""Who the users are."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any, Callable

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.protocol import AgentError, Event
from mlflow_provision.agent.users.api import ABSENT, USERS, call, either
from mlflow_provision.agent.users.server import Server

# What MLflow before 3.13 calls the permissions of a user, and in them the thing they are for.
_OLD_GRANTS = {
    "experiment_permissions": ("experiment", "experiment_id"),
    "registered_model_permissions": ("registered_model", "name"),
    "scorer_permissions": ("scorer", "scorer_name"),
    "gateway_secret_permissions": ("gateway_secret", "secret_id"),
    "gateway_endpoint_permissions": ("gateway_endpoint", "endpoint_id"),
    "gateway_model_definition_permissions": ("gateway_model_definition", "model_definition_id"),
}

User = dict[str, Any]  # {"username", "admin", "roles", "grants"}; a grant: {"type", "id", "permission", "role"}


def run_list(
    server: Server, data: dict[str, Any], emit: Callable[[Event], None], stopping: Callable[[], bool]
) -> dict[str, Any]:
    """All users, sorted."""
    return {"users": users(server)}


def users(server: Server) -> list[User]:
    """All users with what they were given, sorted by name."""
    what = "list the users"
    found = either(
        lambda: call(server.client, "GET", f"{USERS}/list", what, {})["users"],
        lambda: [{"username": name} for name in as_user(server.owner, lambda: _names(server.database))],
    )
    if not server.has_roles:
        found = [_got(server, one["username"]) for one in found]
    return sorted((_user(one) for one in found), key=lambda user: str(user["username"]).lower())


def user(server: Server, username: str) -> User:
    """One of them. Raises AgentError of kind "absent", which names the others."""
    everybody = users(server)
    for one in everybody:
        if one["username"] == username:
            return one
    raise absent(username, [one["username"] for one in everybody])


def absent(username: str, names: list[str]) -> AgentError:
    import difflib

    near = difflib.get_close_matches(username, names, 1)
    meant = f": did you mean {near[0]}?" if near else ""
    return AgentError(
        f"there is no user {username}{meant}", "see who there is: mlflow-provision user list NAME", ABSENT
    )


def _got(server: Server, username: str) -> dict[str, Any]:
    answer: dict[str, Any] = call(server.client, "GET", f"{USERS}/get", "list the users", {"username": username})
    return dict(answer["user"])


def _user(told: dict[str, Any]) -> User:
    grants = [
        {"type": kind, "id": _thing(grant, key), "permission": grant["permission"], "role": ""}
        for name, (kind, key) in _OLD_GRANTS.items()
        for grant in told.get(name) or ()
    ]
    roles = []
    for role in told.get("roles") or ():
        own = is_own(role["name"])
        if not own:
            roles.append(role["name"])
        grants += [
            {
                "type": grant["resource_type"],
                "id": grant["resource_pattern"],
                "permission": grant["permission"],
                "role": "" if own else role["name"],
                **({"number": grant["id"]} if own else {}),
            }
            for grant in role.get("permissions") or ()
        ]
    grants.sort(key=lambda grant: (grant["type"], grant["id"]))
    return {"username": told["username"], "admin": bool(told["is_admin"]), "roles": sorted(roles), "grants": grants}


def _thing(grant: dict[str, Any], key: str) -> str:
    return f"{grant['experiment_id']}/{grant[key]}" if key == "scorer_name" else str(grant[key])


def is_own(role: str) -> bool:
    """Is it the role that MLflow keeps for what one user was given?"""
    return role.startswith("__user_") and role.endswith("__")


def _names(database: str) -> list[str]:
    """Before MLflow 3.10 no call tells all names."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=20)) as connection:
            return [row[0] for row in connection.execute("SELECT username FROM users")]
    except sqlite3.Error as error:
        raise AgentError(f"{database}: {error}") from None
