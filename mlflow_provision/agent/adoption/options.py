"""The settings of a server from its arguments and its environment."""

from __future__ import annotations

import configparser
import glob
import os
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow_provision.agent.adoption.script import UNKNOWN
from mlflow_provision.agent.adoption.unit import text_of

_SHORT = {"-h": "--host", "-p": "--port", "-w": "--workers"}
_FLAGS = {"--serve-artifacts", "--no-serve-artifacts", "--artifacts-only", "--dev", "--enable-mlserver"}
# option → its variable
_VARIABLES = {
    "--backend-store-uri": "MLFLOW_BACKEND_STORE_URI",
    "--artifacts-destination": "MLFLOW_ARTIFACTS_DESTINATION",
    "--default-artifact-root": "MLFLOW_DEFAULT_ARTIFACT_ROOT",
    "--host": "MLFLOW_HOST",
    "--port": "MLFLOW_PORT",
    "--allowed-hosts": "MLFLOW_SERVER_ALLOWED_HOSTS",
    "--app-name": "MLFLOW_APP_NAME",
}
_DEFAULT_AUTH = {"database_uri": "sqlite:///basic_auth.db", "admin_username": "admin", "default_permission": "READ"}


def options(argv: list[str], environment: dict[str, str]) -> dict[str, str]:
    """Long option → value; what is not in the arguments comes from its variable, as MLflow does it."""
    start = max((number for number, word in enumerate(argv) if word in ("server", "ui")), default=-1) + 1
    found = {option: environment[name] for option, name in _VARIABLES.items() if environment.get(name)}
    words = iter(argv[start:])
    for word in words:
        option, separator, value = word.partition("=")
        option = _SHORT.get(option, option)
        if not option.startswith("--"):
            continue
        if option in _FLAGS:
            found[option] = "true"
        else:
            found[option] = value if separator else next(words, "")
    return {option: value for option, value in found.items() if UNKNOWN not in value}


def sqlite_path(uri: str, folder: str) -> str:
    """The file of a SQLite URI, relative ones against `folder`; "" for another database."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.partition("+")[0] != "sqlite" or not rest.startswith("/"):
        return ""
    path = rest[1:].partition("?")[0]
    return os.path.normpath(os.path.join(folder, path)) if path else ""


def local_path(uri: str, folder: str) -> str:
    """The folder that a `file:` URI or a plain path means; "" for a place elsewhere."""
    scheme = urlsplit(uri).scheme if "://" in uri or uri.startswith("file:") else ""
    if scheme == "file":
        return os.path.normpath(unquote(urlsplit(uri).path))
    if scheme or re.match(r"[a-z][a-z0-9+.-]*:/", uri):
        return ""
    return os.path.normpath(os.path.join(folder, uri))


def auth_settings(environment: dict[str, str], folder: str, venv: str) -> dict[str, Any]:
    """The basic auth file: `config`, `database` (a path, "" for a server), `admin_username`, `default_permission`."""
    inside = sorted(glob.glob(f"{glob.escape(venv)}/lib/python*/site-packages/mlflow/server/auth/basic_auth.ini"))
    config = environment.get("MLFLOW_AUTH_CONFIG_PATH") or (inside[0] if inside else "")
    config = os.path.join(folder, config) if config else ""
    said = {**_DEFAULT_AUTH, **_section(text_of(config))}
    return {
        "config": config,
        "database": sqlite_path(said["database_uri"], folder),
        "admin_username": said["admin_username"],
        "default_permission": said["default_permission"].upper(),
    }


def configured_password(config: str) -> str:
    """The administrator's password in a basic auth file, which may have been changed since."""
    return _section(text_of(config)).get("admin_password", "")


def _section(text: str) -> dict[str, str]:
    parser = configparser.ConfigParser()
    try:
        parser.read_string(text)
        return dict(parser["mlflow"]) if parser.has_section("mlflow") else {}
    except configparser.Error:
        return {}
