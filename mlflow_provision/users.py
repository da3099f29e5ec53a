"""The users of a server, without printing: by requests to its host, which asks MLflow's own API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mlflow_provision.agent.protocol import Event
from mlflow_provision.blueprint.users import users_request
from mlflow_provision.config import ENVIRONMENT, Deployment, Secrets
from mlflow_provision.config.rules.auth import USERNAME, password_problem
from mlflow_provision.config.wording import shown
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Host, answer
from mlflow_provision.provision import Facts, look

User = dict[str, Any]  # {"username", "admin", "roles", "grants"}: docs/commands.md explains every field
LEVELS = ("READ", "USE", "EDIT", "MANAGE", "DENY")
EVERY = "*"


@dataclass(frozen=True)
class Reached:
    """A server that is set up, and the login of its administrator."""

    host: Host
    deployment: Deployment
    secrets: Secrets = field(repr=False)
    facts: Facts

    @property
    def admin(self) -> str:
        return self.deployment.auth.admin_username

    def request(self, action: str, **more: Any) -> dict[str, Any]:
        """The answer to a question."""
        return answer(self.host, "users", users_request(self.deployment, self.secrets, self.facts, action, **more))

    def change(self, action: str, what: str, **more: Any) -> Iterator[Event]:
        """The events of a change, which is called `what` in the host's log."""
        data = users_request(self.deployment, self.secrets, self.facts, action, what, **more)
        return self.host.request("users", data)


def reach(host: Host, deployment: Deployment, secrets: Secrets, password_needed: bool = True) -> Reached:
    """Ask the host of a deployment that is set up."""
    facts, _ = look(host, deployment)
    if facts["applied"] is None:
        raise ProvisionError(
            f"{deployment.name} is not set up on {deployment.host}: it has no users",
            f"set it up: mlflow-provision setup {deployment.name}",
        )
    if password_needed and not secrets.admin_password:
        raise unknown_password(deployment)
    return Reached(host, deployment, secrets, facts)


def unknown_password(deployment: Deployment) -> ProvisionError:
    admin = deployment.auth.admin_username
    return ProvisionError(
        f"the password of {admin} on {deployment.name} is not known on this machine",
        f"copy {deployment.name}.secrets.toml from where it was set up, or set {ENVIRONMENT['admin_password']};\n"
        f"if it is lost, set a new one: mlflow-provision user password {admin} {deployment.name} --reset",
    )


def listed(reached: Reached) -> list[User]:
    """Everybody, sorted by name."""
    found: list[User] = reached.request("list")["users"]
    return found


def add(reached: Reached, username: str, password: str, admin: bool) -> Iterator[Event]:
    """A new user; its answer is `{"user"}`."""
    return reached.change("add", f"user add {username}", username=username, password=password, admin=admin)


def remove(reached: Reached, username: str, restart: bool) -> Iterator[Event]:
    """Its answer is `{"user", "restarted", "lingers"}`; `lingers`: other workers may let them in for a minute more."""
    return reached.change("remove", f"user remove {username}", username=username, restart=restart)


def set_admin(reached: Reached, username: str, admin: bool, restart: bool) -> Iterator[Event]:
    """Its answer is `{"user", "changed", "restarted", "lingers"}`."""
    what = f"user admin {username}" + ("" if admin else " --off")
    return reached.change("admin", what, username=username, admin=admin, restart=restart)


def set_password(
    reached: Reached, username: str, password: str, restart: bool, others: tuple[str, ...] = (), what: str = ""
) -> Iterator[Event]:
    """Its answer is `{"username", "changed", "restarted", "lingers"}`. `others`: what the administrator's may be by
    now, if an earlier change was interrupted. `what` says it in the log, if another command does it."""
    more = {"username": username, "password": password, "restart": restart, "others": list(others)}
    return reached.change("password", what or f"user password {username}", **more)


def reset_password(reached: Reached, password: str) -> Iterator[Event]:
    """The administrator's, without the old one."""
    return reached.change("reset", f"user password {reached.admin} --reset", password=password)


def permissions(reached: Reached, username: str, resource: dict[str, str] | None) -> dict[str, Any]:
    """What a user was given, or may do with one thing; without a username, what everybody may do with it."""
    return reached.request("permissions", username=username, resource=resource)


def grant(reached: Reached, username: str, resource: dict[str, str], level: str) -> Iterator[Event]:
    """Its answer is `{"username", "resource", "before", "permission"}`."""
    what = f"user permission {username} --grant {level}"
    return reached.change("grant", what, username=username, resource=resource, permission=level)


def revoke(reached: Reached, username: str, resource: dict[str, str]) -> Iterator[Event]:
    """The same; `before` is empty where there was nothing to take back."""
    return reached.change("revoke", f"user permission {username} --revoke", username=username, resource=resource)


def refuse_own(reached: Reached, username: str) -> None:
    """Whoever the deployment is run with stays: setup would only make them anew."""
    if username == reached.admin:
        raise ProvisionError(
            f"{username} is the administrator that this deployment is run with, and cannot be removed",
            f"first let it be run with another one: mlflow-provision setup {reached.deployment.name} "
            "--admin-username OTHER",
        )


def check_username(username: str) -> None:
    """Refuse a new name that basic auth, a shell or a log would stumble over."""
    if not USERNAME.fullmatch(username):
        raise ProvisionError(
            f"{shown(username)} cannot be the name of a user",
            "use 1 to 64 letters, digits and . _ @ -",
            ExitCode.USAGE,
        )


def check_password(password: str, where: str) -> None:
    """Refuse what the server or its clients would not take, without saying it."""
    if problem := password_problem(password):
        raise ProvisionError(f"{where} {problem}", "give another one", ExitCode.USAGE)
