"""A host with users that exists only as a list of events, for tests of what a person sees and what is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlflow_provision.agent.protocol import CHANGED, Done, Event, Result
from mlflow_provision.host import Reply
from tests.unit.fake_host import FakeHost

APPLIED = {"name": "server", "mlflow_version": "3.17.2"}


def user(name: str, admin: bool = False, *grants: dict[str, Any]) -> dict[str, Any]:
    """One as the agent lists it."""
    return {"username": name, "admin": admin, "roles": [], "grants": list(grants)}


def grant(thing: str = "7", permission: str = "EDIT", role: str = "") -> dict[str, Any]:
    named = {"type": "experiment", "id": thing, "name": "churn" if thing == "7" else thing}
    return {**named, "permission": permission, "role": role}


class UsersHost(FakeHost):
    """Set up, with an administrator and bob."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(**{"applied": APPLIED, "root": {"path": "/opt/mlflow", "state": "ours"}, **facts})
        self.changed_facts.setdefault("admin_exists", True)
        self.users = [user("admin", True), user("bob", False, grant())]
        self.answer: dict[str, Any] = {}  # instead of the usual one
        self.refused_keys: set[str] = set()  # which the store does not take

    def asked(self, verb: str, action: str = "") -> list[dict[str, Any]]:
        """The requests of that kind."""
        return [data for name, data in self.requests if name == verb and action in ("", data.get("action"))]

    def request(self, verb: str, data: dict[str, Any], reply: Reply | None = None) -> Iterator[Event]:
        if verb not in ("users", "rotate", "store"):
            yield from super().request(verb, data, reply)
            return
        self.requests.append((verb, data))
        if verb == "store" and data["access_key_id"] in self.refused_keys:
            raise self.failing["store"]
        if failure := self.failing.get(f"{verb} {data.get('action')}"):
            raise failure
        if "audit" in data:
            yield Result("user", f"user {data.get('username')}", CHANGED, 0.3, "done")
        yield Done(self.answer or self._answer(data.get("action", ""), data))

    def _answer(self, action: str, data: dict[str, Any]) -> dict[str, Any]:
        if action == "list":
            return {"users": self.users}
        if action == "permissions":
            return self._permissions(data)
        if action in ("grant", "revoke"):
            thing = {"type": data["resource"]["type"], "id": "7", "name": data["resource"]["name"]}
            before = "" if action == "grant" else "EDIT"
            return {
                "username": data["username"],
                "resource": thing,
                "before": before,
                "permission": data.get("permission", ""),
            }
        if action == "secret":
            return {"names": data["names"], "keys": 2, "unreadable": [], "restarted": True}
        made = user(data.get("username", ""), bool(data.get("admin")))
        return {"user": made, "changed": True, "restarted": False, "lingers": not data.get("restart", True)}

    def _permissions(self, data: dict[str, Any]) -> dict[str, Any]:
        if not data["resource"]:
            return {"users": [one for one in self.users if one["username"] == data["username"]]}
        found = [
            {"username": one["username"], "admin": one["admin"], "permission": "EDIT", "given": ""}
            for one in self.users
        ]
        return {"resource": {**data["resource"], "id": "7"}, "users": found}
