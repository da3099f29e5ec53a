"""The old server: where it is, and everything of its settings that is no secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mlflow_provision.agent.adoption import aws, options, processes
from mlflow_provision.agent.adoption.script import ServerCommand, server_command
from mlflow_provision.agent.adoption.unit import Unit, text_of, unit_at
from mlflow_provision.agent.release_version import mlflow_version

_FILE_STORE_DEFAULT = (3, 7)  # the first MLflow that keeps a SQLite file where nothing is said


def find(units: list[str], trees: list[str]) -> dict[str, Any] | None:
    """The server of one of these unit files, or in one of these folders; one that runs comes first."""
    found = [_of_unit(unit_at(path)) for path in units]
    known = {one["tree"] for one in found if one}
    found += [_of_tree(path) for path in trees if path not in known]
    servers = [one for one in found if one]
    return sorted(servers, key=lambda one: not one["running"])[0] if servers else None


def running(old: dict[str, Any]) -> ServerCommand | None:
    """The old server's process as it runs now. Ours may run by the name of its unit, but in a folder of ours."""
    found = processes.running_server(old["unit"], old["tree"])
    return found[1] if found and found[1].folder == old["folder"] else None


def environment_of(old: dict[str, Any]) -> dict[str, str]:
    """The environment of an old server as it is now, secrets included: for the agent alone."""
    process = running(old)
    if process:
        return process.environment
    if old["unit"] and os.path.exists(old["unit_file"]):
        said = unit_at(old["unit_file"]).server()
        return said.environment if said else {}
    said = _of_script(old["tree"], old["user"])
    return said.environment if said else {}


def _of_unit(unit: Unit) -> dict[str, Any] | None:
    said = unit.server()
    process = processes.running_server(unit.name, "")
    command = process[1] if process else said
    if command is None:
        return None
    pid = process[0] if process else 0
    user = _owner(f"/proc/{pid}") if pid else (said.user if said else "")
    tree = _tree(unit, command)
    return {"unit": unit.name, "unit_file": unit.path, **_settings(command, tree, user or unit.user, pid)}


def _tree(unit: Unit, command: ServerCommand) -> str:
    """The folder of it all: where the start script is, else where it runs, else where its environment is."""
    scripts = [word for word in unit.arguments if word.endswith(".sh") and os.path.isabs(word)]
    if scripts:
        return os.path.dirname(scripts[0])
    if command.folder not in ("", "/"):
        return command.folder
    programs = [word for word in command.argv if word.endswith("/bin/mlflow")]
    return os.path.dirname(os.path.dirname(os.path.dirname(programs[0]))) if programs else command.folder


def _of_tree(tree: str) -> dict[str, Any] | None:
    user = _owner(tree)
    process = processes.running_server("", tree)
    command = process[1] if process else _of_script(tree, user)
    if command is None:
        return None
    return {"unit": "", "unit_file": "", **_settings(command, tree, user, process[0] if process else 0)}


def _of_script(tree: str, user: str) -> ServerCommand | None:
    from mlflow_provision.agent.adoption.unit import home_of

    environment = {"HOME": home_of(user), "USER": user}
    return server_command(f"{tree}/start_mlflow_server.sh", text_of, environment, tree, user)


def _settings(command: ServerCommand, tree: str, user: str, pid: int) -> dict[str, Any]:
    said = options.options(command.argv, command.environment)
    venv = _venv(command, tree)
    version = mlflow_version(venv)
    auth = said.get("--app-name", "") == "basic-auth"
    artifacts = _artifacts(said, command.folder)
    return {
        "tree": os.path.normpath(tree),
        "folder": command.folder,
        "user": user,
        "running": pid != 0,
        "pid": pid,
        "venv": venv,
        "version": version,
        "port": int(said["--port"]) if said.get("--port", "").isdigit() else 5000,
        "listen": said.get("--host") or "127.0.0.1",
        "allowed_hosts": [name.strip() for name in said.get("--allowed-hosts", "").split(",") if name.strip()],
        "store": _scheme(said.get("--backend-store-uri", "")),
        "database": _database(said.get("--backend-store-uri", ""), command.folder, version),
        "auth": {"on": auth, **options.auth_settings(command.environment, command.folder, venv)}
        if auth
        else {"on": False},
        **artifacts,
        "special": _special(said),
        "aws": aws.settings(command.environment, user) if "s3://" in str(artifacts) else {},
    }


def _special(said: dict[str, str]) -> list[str]:
    """Options by which people reach it in a way that ours does not have."""
    found = [f"--static-prefix {said['--static-prefix']}"] if said.get("--static-prefix") else []
    engines = ("--gunicorn-opts", "--uvicorn-opts", "--waitress-opts")
    return found + [f"{name} with a certificate" for name in engines if "cert" in said.get(name, "")]


def _artifacts(said: dict[str, str], folder: str) -> dict[str, Any]:
    """`proxied`: do clients go through the server? `artifacts`: where it keeps them, a folder or a URL; `root`: where
    new experiments put theirs, if they are named by that place itself."""
    root = said.get("--default-artifact-root", "")
    serves = "--no-serve-artifacts" not in said
    if not root and not serves:
        root = "./mlruns"
    named = bool(root) and not root.startswith("mlflow-artifacts:")
    destination = said.get("--artifacts-destination") or "./mlartifacts"
    if named:
        root = options.local_path(root, folder) or root
    return {
        "proxied": not named,
        "artifacts": root if named else options.local_path(destination, folder) or destination,
        "served": (options.local_path(destination, folder) or destination) if serves else "",
    }


def _venv(command: ServerCommand, tree: str) -> str:
    """The virtual environment: that of the program, else the one that was activated, else the usual place."""
    program = next((word for word in command.argv if "/" in word and os.path.basename(word) != "env"), "")
    place = os.path.dirname(os.path.dirname(os.path.join(command.folder, program))) if program else ""
    for folder in (place, command.environment.get("VIRTUAL_ENV", ""), f"{tree}/venv"):
        if folder and mlflow_version(folder):
            return os.path.normpath(folder)
    return ""


def _database(uri: str, folder: str, version: str) -> str:
    if uri:
        return options.sqlite_path(uri, folder)
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    default = os.path.join(folder, "mlflow.db")
    files = os.path.isdir(os.path.join(folder, "mlruns", "0")) and os.path.exists(
        os.path.join(folder, "mlruns/0/meta.yaml")
    )
    return default if numbers >= _FILE_STORE_DEFAULT and os.path.exists(default) and not files else ""


def _scheme(uri: str) -> str:
    """The kind of database, without what may hold a password."""
    return uri.partition("://")[0].partition("+")[0] if "://" in uri else "files" if uri else ""


def _owner(path: str) -> str:
    try:
        return Path(path).owner()
    except (OSError, KeyError):
        return ""
