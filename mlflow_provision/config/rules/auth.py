"""Users and passwords, as MLflow's basic auth takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlflow_provision.config.deployment import Auth
from mlflow_provision.config.wording import did_you_mean, has_control_characters, one_of, shown

USERNAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
PERMISSIONS = ("READ", "USE", "EDIT", "MANAGE", "NO_PERMISSIONS")
SHORTEST_PASSWORD = 12  # MLflow's own rule
LONGEST_PASSWORD = 256
OLD_DEFAULT_PASSWORD = "password1234"  # noqa: S105  # MLflow shipped it for years, and refuses it now
READABLE = "23456789abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"  # without 0 O o, 1 l I
GROUPS, GROUP_LENGTH = 4, 6  # 24 of 56 characters: 139 bits


def auth_problems(auth: Auth) -> Iterator[str]:
    if ":" in auth.admin_username:
        yield f"auth.admin_username: {shown(auth.admin_username)} has a ':', and basic auth cannot carry one in a name"
    elif not USERNAME.fullmatch(auth.admin_username):
        yield f"auth.admin_username: {shown(auth.admin_username)} cannot be used: 1 to 64 letters, digits and . _ @ -"
    if auth.default_permission not in PERMISSIONS:
        meant = did_you_mean(auth.default_permission, PERMISSIONS)
        given = shown(auth.default_permission)
        yield f"auth.default_permission: {given} is not a permission: use {one_of(PERMISSIONS)}{meant}"


def password_problem(password: str) -> str | None:
    """Why the server or its clients would not take this password; never says the password."""
    if has_control_characters(password):
        return "has a line break or another control character"
    if not password.isascii():
        return "has a character that is not ASCII: MLflow's clients and server do not encode those alike"
    if len(password) < SHORTEST_PASSWORD:
        return f"has {len(password)} characters: MLflow wants at least {SHORTEST_PASSWORD}"
    if len(password) > LONGEST_PASSWORD:
        return f"has {len(password)} characters: use at most {LONGEST_PASSWORD}"
    if password != password.strip():
        return "starts or ends with a space"
    if password == OLD_DEFAULT_PASSWORD:
        return "is the one MLflow used to ship, which everybody knows"
    return None


def generate_password() -> str:
    """Strong, safe to paste into a shell, and readable aloud: groups of letters and digits that are not mistaken."""
    import secrets

    return "-".join("".join(secrets.choice(READABLE) for _ in range(GROUP_LENGTH)) for _ in range(GROUPS))
