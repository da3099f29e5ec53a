"""How the old server proves who it is to its bucket: keys in its environment or in ~/.aws of its user, or a role."""

from __future__ import annotations

import configparser
import os
from typing import Any

from mlflow_provision.agent.adoption.unit import home_of, text_of

_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
# What a profile may say instead of keys, none of which a server of ours can use.
_ELSEWHERE = (
    "role_arn",
    "sso_session",
    "sso_start_url",
    "credential_process",
    "web_identity_token_file",
    "login_session",
)


def settings(environment: dict[str, str], user: str) -> dict[str, Any]:
    """`credentials` (keys, instance-role, or "" with a `problem`), `profile`, `region`, `endpoint_url`. No key."""
    profile, section = _profile(environment, user)
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or section.get("region", "")
    endpoints = ("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    endpoint = next((environment[name] for name in endpoints if environment.get(name)), section.get("endpoint_url", ""))
    found = {
        "profile": profile,
        "region": region,
        "endpoint_url": endpoint.rstrip("/"),
        "credentials": "",
        "problem": "",
    }
    keys = keys_of(environment, user)
    elsewhere = next((name for name in _ELSEWHERE if section.get(name)), "")
    if keys.get("aws_session_token"):
        found["problem"] = "its AWS keys have a session token: they expire within hours"
    elif keys:
        found["credentials"] = "keys"
    elif elsewhere:
        found["problem"] = f"its AWS profile {profile} gets keys by {elsewhere}, which a server cannot renew"
    elif environment.get("AWS_PROFILE") and not section:
        found["problem"] = f"its AWS profile {profile} is not in ~/.aws of {user}"
    else:
        found["credentials"] = "instance-role"
    return found


def keys_of(environment: dict[str, str], user: str) -> dict[str, str]:
    """The keys themselves; {} when there are none. For the operator's secrets file, over the connection, and nowhere
    else."""
    if environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        return {name: environment[name.upper()] for name in _KEYS if environment.get(name.upper())}
    _, section = _profile(environment, user)
    if section.get("aws_access_key_id") and section.get("aws_secret_access_key"):
        return {name: section[name] for name in _KEYS if section.get(name)}
    return {}


def _profile(environment: dict[str, str], user: str) -> tuple[str, dict[str, str]]:
    home = environment.get("HOME") or home_of(user)
    name = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or "default"
    credentials = environment.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.join(home, ".aws/credentials")
    config = environment.get("AWS_CONFIG_FILE") or os.path.join(home, ".aws/config")
    section = "default" if name == "default" else f"profile {name}"
    return name, {**_section(_at(config, home), section), **_section(_at(credentials, home), name)}


def _at(path: str, home: str) -> str:
    return home + path[1:] if path.startswith("~/") else path


def _section(path: str, name: str) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text_of(path))
    except configparser.Error:
        return {}
    return {key: value.strip() for key, value in parser[name].items()} if parser.has_section(name) else {}
