"""What users may do with an experiment, a model, a prompt, …

Since MLflow 3.13 that is a grant to a role of the user's own; before, each kind of thing has calls of its own.
"""

from __future__ import annotations

from typing import Any

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.steps import step
from mlflow_provision.agent.users.accounts import Emit, Stopping
from mlflow_provision.agent.users.api import ABSENT, V2, V3, NoRoute, call
from mlflow_provision.agent.users.listing import User, user, users
from mlflow_provision.agent.users.server import Server

EVERY = "*"
DENY = "DENY"
_OLD = {  # kind → path of its calls before 3.13, and the field with its id
    "experiment": (f"{V2}/experiments", "experiment_id"),
    "registered_model": (f"{V2}/registered-models", "name"),
    "prompt": (f"{V2}/registered-models", "name"),
    "gateway_secret": (f"{V3}/gateway/secrets", "secret_id"),
    "gateway_endpoint": (f"{V3}/gateway/endpoints", "endpoint_id"),
    "gateway_model_definition": (f"{V3}/gateway/model-definitions", "model_definition_id"),
}
Thing = dict[str, str]  # {"type", "id", "name"}


def run_permissions(server: Server, data: dict[str, Any], emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """What one user was given; with a `resource`, what that user (or everybody) may do with it, and why."""
    wanted = data.get("resource")
    if not wanted:
        return {"users": [_named(server, user(server, data["username"]))]}
    thing = resolved(server, wanted)
    meant = [user(server, data["username"])] if data.get("username") else users(server)
    return {
        "resource": thing,
        "users": [
            {"username": one["username"], "admin": one["admin"], **_effective(server, one, thing)} for one in meant
        ],
    }


def run_grant(server: Server, data: dict[str, Any], emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """Give a user a permission; one that was given before is replaced."""
    who, thing = user(server, data["username"]), resolved(server, data["resource"])
    before = _own_grant(server, who, thing)
    level = data["permission"] if server.has_roles or data["permission"] != DENY else "NO_PERMISSIONS"
    if before and before["permission"] == level:
        return _answer(who, thing, level, level)
    with step(emit, "grant", f"{level} on {label(thing)} for {who['username']}") as told:
        if server.has_roles:
            _grant(server, who, thing, level, before)
        else:
            _grant_before_roles(server, who, thing, level, before)
        told.summary = f"it was {before['permission']}" if before else "granted"
    return _answer(who, thing, before["permission"] if before else "", level)


def run_revoke(server: Server, data: dict[str, Any], emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """Take back what a user was given; roles and the default remain."""
    # Of something that is gone, or that was deleted, a grant may still be there.
    who, thing = user(server, data["username"]), resolved(server, data["resource"], there=False)
    before = _own_grant(server, who, thing)
    if not before:
        return _answer(who, thing, "", "")
    with step(emit, "revoke", f"{before['permission']} on {label(thing)} for {who['username']}") as told:
        what = f"take {before['permission']} on {label(thing)} from {who['username']}"
        if server.has_roles:
            grant = {"username": who["username"], "resource_type": thing["type"], "resource_id": thing["id"]}
            call(server.client, "POST", f"{V3}/users/permissions/revoke", what, grant)
        else:
            path, key = _calls(thing)
            data = {"username": who["username"], key: thing["id"]}
            call(server.client, "DELETE", f"{path}/permissions/delete", what, data)
        told.summary = "taken back"
    return _answer(who, thing, before["permission"], "")


def label(thing: Thing) -> str:
    """`experiment churn`, `all experiments`."""
    kind = thing["type"].replace("_", " ").replace("registered model", "model")
    return f"all {kind}s" if thing["id"] == EVERY else f"{kind} {thing['name']}"


def resolved(server: Server, wanted: dict[str, str], there: bool = True) -> Thing:
    """The thing that a name or an id means. Raises AgentError of kind "absent", unless it need not be `there`."""
    kind, word = wanted["type"], wanted["name"]
    if word == EVERY:
        if not server.has_roles:
            raise AgentError(f"this MLflow cannot grant all {kind}s at once", "name one; MLflow 3.13 and newer can")
        return {"type": kind, "id": EVERY, "name": EVERY}
    try:
        if kind == "experiment":
            return _experiment(server, word)
        if kind in ("registered_model", "prompt"):
            what = f"find the {kind.replace('_', ' ')} {word}"
            call(server.client, "GET", f"{V2}/registered-models/get", what, {"name": word})
    except AgentError as error:
        if error.kind != ABSENT:
            raise
        if there:
            raise AgentError(f"there is no {label({'type': kind, 'id': word, 'name': word})}", "", ABSENT) from None
    return {"type": kind, "id": word, "name": word}


def _experiment(server: Server, word: str) -> Thing:
    """By its name; a number may also be an id."""
    what = f"find the experiment {word}"
    try:
        answer = call(server.client, "GET", f"{V2}/experiments/get-by-name", what, {"experiment_name": word})
    except AgentError as error:
        if error.kind != ABSENT or not word.isdigit():
            raise
        answer = call(server.client, "GET", f"{V2}/experiments/get", what, {"experiment_id": word})
    found = answer["experiment"]
    return {"type": "experiment", "id": str(found["experiment_id"]), "name": str(found["name"])}


def _named(server: Server, who: User) -> User:
    """The same with the names of experiments: their ids are numbers."""
    for grant in who["grants"]:
        grant["name"] = grant["id"]
        if grant["type"] == "experiment" and grant["id"] != EVERY:
            try:
                asked = {"experiment_id": grant["id"]}
                answer = call(server.client, "GET", f"{V2}/experiments/get", "name an experiment", asked)
                grant["name"] = str(answer["experiment"]["name"])
            except AgentError as error:
                if error.kind != ABSENT:
                    raise
                grant["name"] = f"{grant['id']}, which is gone"
    return who


def _effective(server: Server, who: User, thing: Thing) -> dict[str, str]:
    """`permission`: what it comes to ("" where this MLflow does not say); `given`: what the user was given for it."""
    own = _own_grant(server, who, thing)
    given = own["permission"] if own else ""
    if who["admin"]:
        return {"permission": "MANAGE", "given": given}
    if not server.has_roles:
        return {"permission": given, "given": given}
    asked = {"username": who["username"], "resource_type": thing["type"], "resource_id": thing["id"]}
    answer = call(server.client, "GET", f"{V3}/users/permissions/get", f"ask what {who['username']} may do", asked)
    return {"permission": str(answer["permission"]), "given": given}


def _own_grant(server: Server, who: User, thing: Thing) -> dict[str, Any] | None:
    """What the user was given for exactly this thing."""
    if not server.has_roles:
        return _asked_before_roles(server, who, thing)
    for grant in who["grants"]:
        if grant["type"] == thing["type"] and grant["id"] == thing["id"] and not grant["role"]:
            return dict(grant)
    return None


def _asked_before_roles(server: Server, who: User, thing: Thing) -> dict[str, Any] | None:
    """The list of users does not have all kinds."""
    path, key = _calls(thing)
    what = f"ask what {who['username']} may do"
    try:
        asked = {"username": who["username"], key: thing["id"]}
        answer = call(server.client, "GET", f"{path}/permissions/get", what, asked)
    except AgentError as error:
        if error.kind != ABSENT:
            raise
        return None
    except NoRoute:
        raise _unsupported(thing) from None
    (found,) = answer.values()
    return {"permission": str(found["permission"])}


def _grant(server: Server, who: User, thing: Thing, level: str, before: dict[str, Any] | None) -> None:
    what = f"give {who['username']} {level} on {label(thing)}"
    if before:  # in one step: at no moment is there none
        change = {"role_permission_id": before["number"], "permission": level}
        call(server.client, "PATCH", f"{V3}/roles/permissions/update", what, change)
        return
    grant = {"username": who["username"], "resource_type": thing["type"], "resource_id": thing["id"]}
    call(server.client, "POST", f"{V3}/users/permissions/grant", what, {**grant, "permission": level})


def _grant_before_roles(server: Server, who: User, thing: Thing, level: str, before: dict[str, Any] | None) -> None:
    path, key = _calls(thing)
    what = f"give {who['username']} {level} on {label(thing)}"
    grant = {"username": who["username"], key: thing["id"], "permission": level}

    method, verb = ("PATCH", "update") if before else ("POST", "create")
    call(server.client, method, f"{path}/permissions/{verb}", what, grant)


def _calls(thing: Thing) -> tuple[str, str]:
    if thing["type"] not in _OLD:
        raise _unsupported(thing)
    return _OLD[thing["type"]]


def _unsupported(thing: Thing) -> AgentError:
    kind = thing["type"].replace("_", " ")
    return AgentError(f"this MLflow knows no permissions for a {kind}", "newer ones do: mlflow-provision upgrade NAME")


def _answer(who: User, thing: Thing, before: str, after: str) -> dict[str, Any]:
    return {"username": who["username"], "resource": thing, "before": before, "permission": after}
