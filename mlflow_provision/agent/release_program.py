"""Programs for the Python of a release, with MLflow's own code: what only MLflow itself can do to its databases."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Callable, Iterator

from mlflow_provision.agent import command

# Before every program: its `request`, and `become`, after which it is the service user. Lock files, journals and
# databases must be that user's own.
_FIRST = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
request = json.load(sys.stdin)
def become(user):
    if user and os.geteuid() == 0:
        import ctypes, pwd
        account = pwd.getpwnam(user)
        os.initgroups(user, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        # The kernel forgets that we die with our parent when we become somebody else.
        ctypes.CDLL(None).prctl(1, 9)
        if os.getppid() == 1:
            sys.exit("the agent is gone")
    os.umask(0o077)
"""

# Only root may write the bytecode beside the modules: with it every start, and every migration, takes half the time.
IMPORT = """
import sqlalchemy.orm, alembic.command, mlflow.store.db.utils, mlflow.server.auth.sqlalchemy_store
"""
# What a server imports beside that, and what alembic loads by itself. What cannot be imported is no matter here:
# releases differ, and the server itself says what it needs.
SERVER_IMPORT = """
import compileall, importlib, os
for folder in ("store/db_migrations", "server/auth/db"):
    compileall.compile_dir(os.path.join(os.path.dirname(mlflow.__file__), folder), quiet=2)
uvicorn = ("main", "lifespan.on", "loops.auto", "protocols.http.auto", "protocols.websockets.auto")
for name in ["mlflow.server.fastapi_app", "mlflow.cli", *("uvicorn." + name for name in uvicorn), "docker"]:
    try:
        importlib.import_module(name)
    except Exception:
        pass
"""
_LAST_IMPORTED = "lib/python*/site-packages/docker/__pycache__/__init__.*"
_WAITS = f"print({command.READY!r}, flush=True)\n"


def run(release: str, config: str, program: str, request: dict[str, Any], stopping: Callable[[], bool]) -> list[str]:
    """The lines that a program prints with the Python of the venv `release`. What may be secret travels in `request`,
    over stdin.

    `config` is the basic auth file, without which MLflow's users cannot be imported.
    """
    argv, environment = _argv(release, _FIRST + program), _environment(release, config)
    return command.run(argv, stdin=json.dumps(request), env=environment, stopping=stopping)


@contextlib.contextmanager
def waiting(
    release: str, config: str, imports: str, program: str, stopping: Callable[[], bool]
) -> Iterator[Callable[[dict[str, Any]], list[str]]]:
    """The same, begun before there is a request: what takes long, `imports`, is done when this has begun."""
    argv, environment = _argv(release, imports + _WAITS + _FIRST + program), _environment(release, config)
    with command.waiting(argv, environment, stopping) as go:
        yield lambda request: go(json.dumps(request))


def _argv(release: str, program: str) -> list[str]:
    return [f"{release}/bin/python", "-W", "ignore", "-c", program]


def _environment(release: str, config: str) -> dict[str, str]:
    return {
        "HOME": release,
        "MLFLOW_AUTH_CONFIG_PATH": config,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only for this import",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def imported(release: str) -> bool:
    """Was all that a server imports imported before?"""
    return any(Path(release).glob(_LAST_IMPORTED))


def first_import(release: str, config: str, stopping: Callable[[], bool]) -> None:
    """Import once all that a server imports, as whoever may write into the release."""
    if not imported(release):
        run(release, config, IMPORT + SERVER_IMPORT, {}, stopping)
