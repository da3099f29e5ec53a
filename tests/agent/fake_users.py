"""As much of MLflow's API for users and permissions as we use, of new and of old versions, able to misbehave."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.agent.loopback import listening

ADMIN, PASSWORD = "admin", "correct horse battery CANARY"
Grants = dict[tuple[str, str], str]


@dataclass
class Account:
    number: int
    password: str
    admin: bool = False
    grants: Grants = field(default_factory=dict)
    also: set[str] = field(default_factory=set)  # passwords that other workers remember


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class FakeUsers:
    """The server. `old`: before MLflow 3.13; `oldest`: before 3.10, without a list of users."""

    old: bool = False
    oldest: bool = False
    remembers: bool = False  # do other workers let in with a password that was changed?
    accounts: dict[str, Account] = field(default_factory=lambda: {ADMIN: Account(1, PASSWORD, True)})
    experiments: dict[str, str] = field(default_factory=lambda: {"0": "Default", "7": "churn"})
    models: tuple[str, ...] = ("fraud",)
    faults: dict[str, Callable[[], tuple[int, str]]] = field(default_factory=dict)  # path → answer instead
    after: dict[str, Callable[[], None]] = field(default_factory=dict)  # path → done once it was served
    seen: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, name: str, password: str = "a good password", admin: bool = False, **grants: str) -> Account:
        """A user; `grants` are kind → "id LEVEL"."""
        account = self.accounts[name] = Account(len(self.accounts) + 1, password, admin)
        for kind, given in grants.items():
            thing, _, level = given.partition(" ")
            account.grants[kind, thing] = level
        return account

    def restarted(self) -> None:
        """Every worker knows the same now."""
        for account in self.accounts.values():
            account.also.clear()

    def answer(self, method: str, target: str, login: str, body: bytes) -> tuple[int, str]:
        parts = urlsplit(target)
        path = parts.path.partition("/mlflow/")[2]
        data = json.loads(body) if body else dict(parse_qsl(parts.query))
        self.seen.append(f"{method} {path}")
        if path in self.faults:
            return self.faults[path]()
        sender = self._login(login)
        if sender is None:
            return 401, "You are not authenticated."
        handler = getattr(self, "_" + path.replace("/", "_").replace("-", "_"), None)
        if handler is None or not self._has(path):
            return 404, "Not Found"
        try:
            answer = handler(sender, data)
        except Refused as error:
            return error.status, json.dumps({"error_code": error.code, "message": str(error)})
        if path in self.after:
            self.after[path]()
        return 200, json.dumps(answer or {})

    def _has(self, path: str) -> bool:
        if path == "users/list":
            return not self.oldest
        roles = path.startswith(("roles/", "users/permissions/"))
        legacy = path.startswith(("experiments/permissions", "registered-models/permissions"))
        return not (roles and self.old) and not (legacy and not self.old)

    def _login(self, header: str) -> str | None:
        if not header:
            return None
        name, _, password = base64.b64decode(header.split()[1]).decode().partition(":")
        account = self.accounts.get(name)
        return name if account and password in {account.password, *account.also} else None

    def _account(self, data: dict[str, Any]) -> Account:
        if data["username"] not in self.accounts:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", f"User with username={data['username']} not found")
        return self.accounts[data["username"]]

    def _only_admins(self, sender: str) -> None:
        if not self.accounts[sender].admin:
            raise Refused(403, "PERMISSION_DENIED", "Permission denied")

    def _users_list(self, sender: str, data: dict[str, Any]) -> Any:
        return {"users": [self._listed(name, account) for name, account in self.accounts.items()]}

    def _listed(self, name: str, account: Account) -> dict[str, Any]:
        if self.old:
            return {"id": account.number, "username": name}
        permissions = [
            {"id": 100 * account.number + n, "resource_type": kind, "resource_pattern": thing, "permission": level}
            for n, ((kind, thing), level) in enumerate(account.grants.items())
        ]
        own = [{"name": f"__user_{account.number}__", "permissions": permissions}] if permissions else []
        return {"id": account.number, "username": name, "is_admin": account.admin, "roles": own}

    def _users_get(self, sender: str, data: dict[str, Any]) -> Any:
        account = self._account(data)
        given = [
            {"experiment_id": thing, "permission": level}
            for (kind, thing), level in account.grants.items()
            if kind == "experiment"
        ]
        models = [
            {"name": thing, "permission": level}
            for (kind, thing), level in account.grants.items()
            if kind == "registered_model"
        ]
        user = {"id": account.number, "username": data["username"], "is_admin": account.admin}
        more = {"experiment_permissions": given, "registered_model_permissions": models} if self.old else {}
        return {"user": {**user, **more}}

    def _users_create(self, sender: str, data: dict[str, Any]) -> Any:
        self._only_admins(sender)
        if data["username"] in self.accounts:
            raise Refused(400, "RESOURCE_ALREADY_EXISTS", f"User (username={data['username']}) already exists.")
        self.add(data["username"], data["password"])

    def _users_delete(self, sender: str, data: dict[str, Any]) -> Any:
        self._only_admins(sender)
        self._account(data)
        del self.accounts[data["username"]]

    def _users_update_admin(self, sender: str, data: dict[str, Any]) -> Any:
        self._only_admins(sender)
        self._account(data).admin = data["is_admin"]

    def _users_update_password(self, sender: str, data: dict[str, Any]) -> Any:
        account = self._account(data)
        if sender == data["username"] and not self.old and data.get("current_password") != account.password:
            raise Refused(400, "INVALID_PARAMETER_VALUE", "Current password does not match.")
        if self.remembers:
            account.also.add(account.password)
        account.password = data["password"]

    def _users_permissions_grant(self, sender: str, data: dict[str, Any]) -> Any:
        key = (data["resource_type"], data["resource_id"])
        if key in self._account(data).grants:
            raise Refused(400, "RESOURCE_ALREADY_EXISTS", "already exists")
        self._account(data).grants[key] = data["permission"]

    def _users_permissions_revoke(self, sender: str, data: dict[str, Any]) -> Any:
        del self._account(data).grants[data["resource_type"], data["resource_id"]]

    def _users_permissions_get(self, sender: str, data: dict[str, Any]) -> Any:
        given = self._account(data).grants.get((data["resource_type"], data["resource_id"]), "READ")
        return {"allowed": given != "READ", "permission": given}

    def _roles_permissions_update(self, sender: str, data: dict[str, Any]) -> Any:
        number, place = divmod(data["role_permission_id"], 100)
        account = next(one for one in self.accounts.values() if one.number == number)
        account.grants[list(account.grants)[place]] = data["permission"]

    def _experiments_permissions_create(self, sender: str, data: dict[str, Any]) -> Any:
        if ("experiment", data["experiment_id"]) in self._account(data).grants:
            raise Refused(400, "RESOURCE_ALREADY_EXISTS", "already exists")
        self._experiments_permissions_update(sender, data)

    def _experiments_permissions_get(self, sender: str, data: dict[str, Any]) -> Any:
        given = self._account(data).grants.get(("experiment", data["experiment_id"]))
        if given is None:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", "not found")
        return {"experiment_permission": {"experiment_id": data["experiment_id"], "permission": given}}

    def _experiments_permissions_update(self, sender: str, data: dict[str, Any]) -> Any:
        self._account(data).grants["experiment", data["experiment_id"]] = data["permission"]

    def _experiments_permissions_delete(self, sender: str, data: dict[str, Any]) -> Any:
        del self._account(data).grants["experiment", data["experiment_id"]]

    def _experiments_get_by_name(self, sender: str, data: dict[str, Any]) -> Any:
        for number, name in self.experiments.items():
            if name == data["experiment_name"]:
                return {"experiment": {"experiment_id": number, "name": name}}
        raise Refused(404, "RESOURCE_DOES_NOT_EXIST", "no such experiment")

    def _experiments_get(self, sender: str, data: dict[str, Any]) -> Any:
        if data["experiment_id"] not in self.experiments:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", "no such experiment")
        number = data["experiment_id"]
        return {"experiment": {"experiment_id": number, "name": self.experiments[number]}}

    def _registered_models_get(self, sender: str, data: dict[str, Any]) -> Any:
        if data["name"] not in self.models:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", "no such model")
        return {"registered_model": {"name": data["name"]}}


@contextlib.contextmanager
def serve_users(fake: FakeUsers) -> Iterator[FakeUsers]:
    """Run it on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = fake.answer(self.command, self.path, self.headers.get("Authorization") or "", body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer.encode())

        do_GET = do_POST = do_PATCH = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with listening(Handler) as fake.port:
        yield fake
