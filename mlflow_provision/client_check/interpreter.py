"""A Python that has the MLflow client: one that is there, or one made for the purpose and kept in the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mlflow_provision.client_check.surroundings import environment
from mlflow_provision.config import Deployment
from mlflow_provision.errors import ProvisionError
from mlflow_provision.requirements import constraints

_NEEDED = ("mlflow", "sklearn", "matplotlib")
_PACKAGES = ("scikit-learn", "matplotlib")
_LOOK = f"import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, {_NEEDED!r})))"
_COMPLETE = "complete"  # a file in the environment, written last


@dataclass(frozen=True)
class Interpreter:
    """A Python that has all that the trial needs."""

    path: str
    made: bool  # by us, in the cache


def found(version: str) -> Interpreter | None:
    """The Python that runs us, the one a person gets by typing `python`, or the one made earlier for this MLflow."""
    candidates = [sys.executable, *filter(None, map(shutil.which, ("python", "python3")))]
    for path in dict.fromkeys(candidates):
        if _has_all(path):
            return Interpreter(path, made=False)
    folder = place(version)
    if (folder / _COMPLETE).exists() and _has_all(str(_python_of(folder))):
        return Interpreter(str(_python_of(folder)), made=True)
    return None


def place(version: str) -> Path:
    """Where the environment for this MLflow is, or would be."""
    from platformdirs import user_cache_path

    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return user_cache_path("mlflow-provision") / "client" / f"mlflow-{version}-python{python}"


def maker() -> str | None:
    """What can make one here: `uv`, `pip`, or nothing."""
    if shutil.which("uv"):
        return "uv"
    return "pip" if find_spec("venv") and find_spec("ensurepip") else None


def make(deployment: Deployment, tool: str, said: Callable[[str], None]) -> Interpreter:
    """Install the client in the version of the server. Raises ProvisionError with the installer's own last words."""
    folder = place(deployment.mlflow.version)
    shutil.rmtree(folder, ignore_errors=True)  # one that was not finished
    folder.parent.mkdir(parents=True, exist_ok=True)
    limits = folder.with_suffix(".constraints.txt")
    limits.write_text("\n".join(constraints(deployment.mlflow.version)) + "\n", "utf-8")
    try:
        for argv in _commands(tool, folder, limits, deployment.mlflow.version):
            _run(argv, _index(deployment), said)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        limits.unlink()
    (folder / _COMPLETE).touch()
    return Interpreter(str(_python_of(folder)), made=True)


def _commands(tool: str, folder: Path, limits: Path, version: str) -> Iterator[list[str]]:
    python = str(_python_of(folder))
    packages = [f"mlflow=={version}", *_PACKAGES, "-c", str(limits)]
    if tool == "uv":
        yield ["uv", "venv", "--python", sys.executable, str(folder)]
        yield ["uv", "pip", "install", "--python", python, *packages]
    else:
        yield [sys.executable, "-m", "venv", str(folder)]
        yield [python, "-m", "pip", "install", "--disable-pip-version-check", *packages]


def _run(argv: list[str], variables: dict[str, str], said: Callable[[str], None]) -> None:
    process = subprocess.Popen(
        argv,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines: list[str] = []
    try:
        for line in process.stdout or ():
            lines = [*lines[-7:], line.rstrip()]
            said(line.rstrip())
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()
    if process.returncode:
        raise ProvisionError(
            "the MLflow client could not be installed:\n" + "\n".join(lines),
            "or give it a Python that has it: pip install mlflow scikit-learn matplotlib",
        )


def _index(deployment: Deployment) -> dict[str, str]:
    """The mirror of the deployment, if it has one: in variables, since its URL may hold a password."""
    url = deployment.mlflow.index_url
    system = {"UV_SYSTEM_CERTS": os.environ.get("UV_SYSTEM_CERTS", "1")}
    return {**system, "UV_DEFAULT_INDEX": url, "PIP_INDEX_URL": url} if url else system


def _python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def _has_all(python: str) -> bool:
    """Asked as the trial will be run, where folders that only this process knows are not searched."""
    with tempfile.TemporaryDirectory() as home:
        try:
            asked = subprocess.run(
                [python, "-c", _LOOK],
                env=environment(Path(home), {}),
                cwd=home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=30,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
    return asked.returncode == 0
